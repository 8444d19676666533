"""README and docs: paths and links exist, examples run, transcripts are what the commands print."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from warm_python import warm_python

import mmhoga
from mmhoga.cli.main import COMMANDS
from mmhoga.insertion import cells_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/*.md'), *ROOT.glob('configs/**/*.md')])
# A path in a command or in prose. Placeholders in capitals and wildcards do not match.
NAMED = re.compile(
    r'(?<![\w./-])((?:configs|tools|benchmarks|tests|mmhoga|docs)/[\w./-]+\.(?:py|sh|md|json|yml))(?![\w/])'
)
OLD_TOOL = re.compile(r'tools/(?!train\.py|test\.py)[\w/]+\.py')
USE = ROOT / 'docs' / 'use_in_your_project.md'
ADD = ROOT / 'docs' / 'add_to_your_network.md'
SHOWS_OLD_NAMES = 'CHANGELOG.md'
FENCE = re.compile(r'(<!-- run -->\n)?^```(\w*)\n(.*?)^```$', re.M | re.S)


def blocks(language, pages=PAGES, run=False):
    """``(page, text)`` of every fenced block; with ``run``, of those after ``<!-- run -->``."""
    return [
        pytest.param(page, text, id=f'{page.relative_to(ROOT)}:{index}')
        for page in pages
        for index, (marked, name, text) in enumerate(FENCE.findall(page.read_text(encoding='utf-8')))
        if name == language and (marked or not run)
    ]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_exist(page):
    text = page.read_text(encoding='utf-8')
    links = [link.partition('#')[0] for link in re.findall(r'\]\(([^)\s]+)\)', text) if '://' not in link]
    missing = [link for link in links if link and not (page.parent / link).exists()]
    if page.name != SHOWS_OLD_NAMES:
        missing += [name for name in NAMED.findall(text) if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_link_references_are_defined(page):
    text = re.sub(r'^```.*?^```$|`[^`\n]*`', '', page.read_text(encoding='utf-8'), flags=re.M | re.S)
    used = set(re.findall(r'\]\[([\w-]+)\]', text))
    assert used == set(re.findall(r'^\[([\w-]+)\]: \S+$', text, re.M))


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_commands_exist(page):
    text = page.read_text(encoding='utf-8')
    code = [line for _, _, block in FENCE.findall(text) for line in block.splitlines()]
    code += [line.strip() for line in text.splitlines() if line.startswith('    ')]
    code += re.findall(r'`([^`\n]+)`', text)
    called = {match[1] for line in code for match in re.finditer(r'(?:^\$? ?|&& |-m )mmhoga ([a-z][a-z-]+)\b', line)}
    assert called <= {name for group in COMMANDS.values() for name in group}
    if page.name != SHOWS_OLD_NAMES:
        assert not OLD_TOOL.findall(text)


@pytest.mark.parametrize('page', ['README.md', 'docs/commands.md'])
def test_the_tables_of_commands_are_complete(page):
    commands = {name for group in COMMANDS.values() for name in group}
    rows = re.findall(r'^\| (`mmhoga .*?) \|', (ROOT / page).read_text(encoding='utf-8'), re.M)
    assert {name for row in rows for name in re.findall(r'`mmhoga ([a-z-]+)', row)} == commands


def test_every_page_is_in_a_toctree():
    index = (ROOT / 'docs' / 'index.md').read_text(encoding='utf-8')
    listed = re.findall(r'^[^`\n]* <(\w+)>$', index, re.M)
    pages = {page.stem for page in ROOT.glob('docs/*.md')} - {'index'}
    assert sorted(listed) == sorted(pages)
    assert pages <= set(re.findall(r'\]\((\w+)\.md\)', index))


@pytest.mark.parametrize(('page', 'transcript'), blocks('console'))
def test_transcripts(page, transcript, tmp_path):
    """``$ mmhoga ...`` lines are run in order in an empty directory; the lines below each are what it prints."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'COLUMNS': '80'}
    steps = re.split(r'^\$ ', transcript, flags=re.M)
    assert steps[0] == '' and len(steps) > 1
    for step in steps[1:]:
        command, _, expected = step.partition('\n')
        name, *arguments = shlex.split(command)
        assert name == 'mmhoga', f'only mmhoga commands belong in a console block: {command}'
        done = subprocess.run(
            [warm_python(), '-W', 'ignore', '-m', 'mmhoga', *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout + done.stderr == expected


@pytest.mark.parametrize(
    'page', sorted({block.values[0] for block in blocks('python', run=True)}), ids=lambda p: p.name
)
def test_python_examples_run(page, tmp_path, monkeypatch):
    """The marked blocks of a page, in order and in one namespace."""
    monkeypatch.chdir(tmp_path)
    namespace = {'__name__': 'example'}
    for block in blocks('python', [page], run=True):
        exec(compile(block.values[1], str(page), 'exec'), namespace)


def host_snippets(page):
    return [block.values[1] for block in blocks('python', [page]) if '_base_' in block.values[1]]


def build_snippet(snippet, folder):
    """The model of a config as the page shows it, without the checkpoint."""
    host = re.search(r"'(\w+)::", snippet)[1]
    pytest.importorskip(host)
    path = folder / 'mine.py'
    path.write_text(snippet)
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    if cfg.model.backbone.get('pretrained'):
        cfg.model.backbone.pretrained = False
    return cfg, MODELS.build(cfg.model)


@pytest.mark.parametrize('snippet', host_snippets(USE), ids=lambda text: re.search(r"'(\w+)::", text)[1])
def test_the_configs_of_use_in_your_project_build(snippet, tmp_path):
    cfg, model = build_snippet(snippet, tmp_path)
    cells = [module for module in model.modules() if type(module).__name__ == 'HOGA']
    assert len(cells) == {18: 8, 50: 16}[cfg.model.backbone.depth]


@pytest.mark.parametrize('snippet', host_snippets(ADD), ids=lambda text: re.search(r"into='(\w+)'", text)[1])
def test_the_configs_of_add_to_your_network_build(snippet, tmp_path):
    _, model = build_snippet(snippet, tmp_path)
    cells = cells_of(model.backbone)
    assert len(cells) >= 4 and all(cell.is_identity() for cell in cells.values())


def test_the_learning_rate_of_add_to_your_network():
    """The config of the page sets the rate of the parameters in the cells and of no others."""
    (text,) = (block.values[1] for block in blocks('python', [ADD]) if 'custom_keys' in block.values[1])
    names: dict = {}
    exec(text, names)
    network = mmhoga.insert(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), dict(type='mmhoga.HOGA'), after='0')
    groups = build_optim_wrapper(network, names['optim_wrapper']).param_groups
    rates = {id(group['params'][0]): group['lr'] for group in groups}
    expected = {name: 0.1 if '.hoga.' in name else 0.01 for name, _ in network.named_parameters()}
    assert {name: rates[id(p)] for name, p in network.named_parameters()} == pytest.approx(expected)

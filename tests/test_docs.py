"""What README and docs name is there, and what they show works."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / 'README.md', *ROOT.glob('docs/**/*.md'), *ROOT.glob('configs/**/*.md')])
# Beginnings of paths in commands and prose; a placeholder in capitals, or a wildcard, is none.
NAMED = re.compile(
    r'(?<![\w./-])((?:configs|tools|benchmarks|tests|mmhoga|docs)/[\w./-]+\.(?:py|sh|md|json|yml))(?![\w/])'
)
USE = ROOT / 'docs' / 'use_in_your_project.md'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding='utf-8')
    links = [link.partition('#')[0] for link in re.findall(r'\]\(([^)\s]+)\)', text) if '://' not in link]
    missing = [link for link in links if link and not (page.parent / link).exists()]
    missing += [name for name in NAMED.findall(text) if not (ROOT / name).exists()]
    assert not missing


def test_every_page_is_in_the_index():
    index = (ROOT / 'docs' / 'README.md').read_text(encoding='utf-8')
    pages = {page.name for page in ROOT.glob('docs/*.md')} - {'README.md'}
    assert pages == set(re.findall(r'\]\((\w+\.md)\)', index))


def snippets():
    return [
        block
        for block in re.findall(r'```python\n(.*?)```', USE.read_text(encoding='utf-8'), re.S)
        if '_base_' in block
    ]


@pytest.mark.parametrize('snippet', snippets(), ids=lambda text: re.search(r"'(\w+)::", text)[1])
def test_the_snippets_build(snippet, tmp_path):
    """The user's config as the page has it, but for weights that only training brings."""
    host = re.search(r"'(\w+)::", snippet)[1]
    pytest.importorskip(host)
    path = tmp_path / 'mine.py'
    path.write_text(snippet)
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    cells = [module for module in model.modules() if type(module).__name__ == 'HOGA']
    assert len(cells) == {18: 8, 50: 16}[cfg.model.backbone.depth]

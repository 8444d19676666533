"""Wrong input to any command is one short paragraph with exit code 2, and nothing is written."""

import json
import re
from pathlib import Path

import pytest

from mmhoga.cli.main import main
from mmhoga.cli.run import errors
from mmhoga.cli.run.errors import LONGEST

DIGITS, SEARCH = 'hoga-resnet8_1xb96-8e_digits', 'hoga-search_resnet8_1xb64-8e_digits'
SHAPES = 'hoga-resnet18_1xb32-10e_shapes'
PLUGIN = 'model.backbone.plugins.0.cfg'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file, a folder, and configs that are wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.delenv('MMHOGA_DEBUG', raising=False)
    Path('folder').mkdir()
    files = {'file': '', 'empty.py': '', 'syntax.py': 'model = dict(', 'exits.py': 'raise SystemExit(0)'}
    files |= {
        'number.py': 'model = 5',
        'typeless.py': 'model = dict()',
        'not-a-checkpoint.pth': 'text',
        'cut.json': '{',
    }
    files['deep.json'] = '[' * 100_000
    for name, text in files.items():
        Path(name).write_text(text)
    return tmp_path


def refused(argv, capsys):
    """Run a command that must fail before it does anything, and return its message."""
    before = {path: path.stat().st_mtime_ns for path in Path().rglob('*')}
    try:
        code = main(argv)
    except SystemExit as error:  # of argparse
        code = error.code
    text = capsys.readouterr().err
    message = text[text.rindex('error: ') :]
    assert code == 2, text
    assert message.count('\n') == 1 and len(message) < LONGEST + 100 and 'Traceback' not in text
    assert {path: path.stat().st_mtime_ns for path in Path().rglob('*')} == before, 'something was written'
    return message


COMMANDS = {
    # configs
    'train syntax.py': r'syntax\.py cannot be read: SyntaxError',
    'train exits.py': r'exits\.py cannot be read: SystemExit',
    'train empty.py': r'empty\.py is no config of a network: model must be dict\(type=\.\.\.\), found none',
    'train number.py': 'found 5',
    'test typeless.py not-a-checkpoint.pth': 'found {}',
    'flops empty.py': 'no config of a network',
    'places empty.py': 'no config of a network',
    'random-search empty.py': 'no config of a network',
    'repeat-search empty.py': 'not the config of a search',
    'train folder': 'there is no config folder',
    f'train {"x" * 5000}': 'name too long',
    f'train {DIGITS} --cfg-options trian_cfg.max_epochs=3': r'has no trian_cfg\. Did you mean train_cfg\?',
    f'train {DIGITS} --cfg-options {PLUGIN}.genotype=nowhere model=None': 'found None',
    f'train {DIGITS} --cfg-options work_dir=5': 'TypeError: .*not int',
    f'train {DIGITS} --cfg-options train_cfg.max_epochs=0': r'train_cfg\.max_epochs is 0\. A training takes at least 1',
    f'train {DIGITS} --cfg-options x=[(1,2]': 'takes KEY=VALUE',
    # folders and files
    f'train {DIGITS} --work-dir file': 'work_dir file cannot be written: File exists',
    f'train {DIGITS} --work-dir file/below': 'cannot be written: Not a directory',
    f'train {DIGITS} --work-dir {"x" * 5000}': 'cannot be written: File name too long',
    f'train {DIGITS} --resume folder': 'folder is a folder, not a checkpoint',
    f'train {DIGITS} --resume nowhere.pth': r'there is no checkpoint nowhere\.pth',
    f'test {DIGITS} folder': 'folder is a folder, not a checkpoint',
    f'test {DIGITS} not-a-checkpoint.pth --out x.txt': r'must end in \.json or \.yaml',
    f'test {DIGITS} not-a-checkpoint.pth --interval 0': 'must be a positive integer, not 0',
    f'random-search {DIGITS} --trials 1 --work-dir file': 'work_dir file cannot be written',
    f'repeat-search {SEARCH} --trials 1 --work-dir file': 'work_dir file cannot be written',
    f'study {DIGITS} --trials 1 --work-dir file': 'work_dir file cannot be written',
    'demo --work-dir file': 'work_dir .*file cannot be written',
    f'search {DIGITS} --work-dir file': 'work_dir file cannot be written',
    f'browse {DIGITS} --out file': '--out file: File exists',
    f'latency {SEARCH} --input-shape 1 8 8 --out folder': 'folder is a folder',
    f'flops {DIGITS} --shape 0': 'must be a positive integer, not 0',
    'make-data shapes --out file': 'File exists',
    # numbers and names
    f'random-search {DIGITS} --trials -3': 'must be a positive integer, not -3',
    f'random-search {DIGITS} --num-groups 3 --trials 1': r'K = 3 groups, but 3 does not divide in_channels = 16',
    f'random-search {DIGITS} --num-groups 0': 'must be a positive integer, not 0',
    f'random-search {DIGITS} --primitives foo --trials 1': "unknown operation 'foo'",
    f'random-search {DIGITS} --trials 2 --trial 2': '--trial 2: with --trials 2 there are 0 to 1',
    f'random-search {DIGITS} --seed -1': r'must be an integer from 0 to 2\*\*32 - 1, not -1',
    f'random-search {SEARCH}': 'is the config of a search',
    f'repeat-search {DIGITS}': r'not the config of a search: its model is ImageClassifier',
    f'study {DIGITS} --cost latency --shape 8 --device x': '--device x is not available',
    f'study {DIGITS} --genotypes nowhere': "Unknown genotype 'nowhere'",
    f'study {DIGITS} --num-groups 3': '3 does not divide',
    f'latency {SEARCH} --device x --input-shape 1 8 8': '--device x is not available',
    f'latency {SEARCH} --input-shape 1 0 8': 'must be a positive integer, not 0',
    f'search {DIGITS} --order 3': 'invalid choice: 3',
    f'search {DIGITS} --warmup-epochs -1': 'must be an integer of at least 0, not -1',
    'make-data shapes --size 0': 'must be a positive integer, not 0',
    'make-data shapes --size 10': 'at least 64 pixels',
    'make-data shapes --seed 99999999999': r'must be an integer from 0 to 2\*\*32 - 1',
    f'browse {DIGITS} --out pictures --number -1': 'must be a positive integer, not -1',
    f'browse {SHAPES} --out pictures': 'mmhoga make-data shapes',
    'demo --seeds -1': 'must be an integer from 0',
    'select folder --method score': 'folder has no checkpoint',
    'genotype show cut.json': r'cut\.json is not valid JSON',
    'genotype show deep.json': 'nested too deeply',
    f'genotype show {"x" * 5000}.json': 'File name too long',
    'genotype count autola --channels 6 --size 4': '4 does not divide in_channels = 6',
    'publish not-a-checkpoint.pth --out x.pth': 'torch.save did not write it',
    'report --search folder --out x.html': 'folder',
}


@pytest.mark.parametrize('command', COMMANDS, ids=lambda command: command[:70])
def test_command(command, folder, capsys):
    assert re.search(COMMANDS[command], refused(command.split(), capsys))


# These are found while the network, the data and the loop are built, after the log has been opened.
BUILDING = {
    (SEARCH, 'train_cfg.order=3'): r'train_cfg\.order must be one of \(1, 2\), not 3',
    (SEARCH, 'model.primitives=[se,foo]'): "unknown operation 'foo'",
    (DIGITS, 'train_dataloader.batch_size=0'): 'batch_size should be a positive integer',
    (DIGITS, 'train_cfg.max_epoch=3'): "unexpected keyword argument 'max_epoch'",
    (DIGITS, 'load_from=folder'): r'folder is a folder\. The path is set in .*load_from',
    (DIGITS, 'train_dataloader.batch_size=5000', 'train_dataloader.drop_last=True'): 'fewer than one batch',
}


@pytest.mark.parametrize('case', BUILDING, ids=lambda case: ' '.join(case[1:]))
def test_building(case, folder, capsys):
    config, *options = case
    assert main(['train', config, '--work-dir', 'run', '--cfg-options', *options]) == 2
    message = capsys.readouterr().err.rpartition('error: ')[2]
    assert re.search(BUILDING[case], message)
    assert message.count('\n') == 1 and len(message) < LONGEST
    assert not [*Path('run').glob('*.pth'), *Path('run').glob('*.json')]


def test_messages_are_short_and_harmless():
    text = errors.shown('a\x1b[2Jb\r\n' + 'x' * 10_000_000)
    assert text.startswith('a\\x1b[2Jb\\r\n') and len(text) < LONGEST + 10
    assert errors.shown('plain: "ü" \n  two') == 'plain: "ü" \n  two'


def test_a_genotype_cannot_act_on_the_terminal(folder, capsys):
    genotype = {'edges': [['se']], 'meta': {'\x1b[2J': 'a\x1b]0;title\x07\u202eb', 'n': {'\x1b': '\x9b31m'}}}
    Path('g.json').write_text(json.dumps(genotype))
    assert main(['genotype', 'show', 'g.json']) == 0
    out = capsys.readouterr().out
    assert all(character.isprintable() or character == '\n' for character in out) and 'title' in out


def test_the_table_of_faults_names_tests(root):
    """Each row of docs/interruptions.md is held by a test that exists."""
    table = (root / 'docs/interruptions.md').read_text().partition('| fault |')[2].partition('\n\n')[0]
    rows = [row.split('|')[-2] for row in table.splitlines() if '---' not in row and 'exit code' not in row]
    files = {path.name: path for path in (root / 'tests').rglob('test_*.py')}
    for row in rows:
        names = re.findall(r'`(test_\w+\.py)(?:::(\w+))?', row)
        assert names, row
        for file, name in names:
            text = files[file].read_text()
            assert not name or f'def {name}(' in text or f'class {name}' in text, (file, name)
    assert len(rows) > 20

"""``mmhoga paper``: its tables agree with the configs, their headers, the recorded costs and docs/costs.md."""

import json
import re
from pathlib import Path

import pytest

from mmhoga.cli import paper
from mmhoga.cli.paper import (
    count_costs,
    count_row,
    format_tables,
    paper_main,
    read_costs,
    read_tables,
    train_command,
    unique_rows,
)

ROOT = Path(__file__).resolve().parent.parent.parent
TABLES = read_tables()
ROWS = {Path(row['config']).stem: (table, row) for table, row in unique_rows(TABLES)}
COSTS = read_costs()


def header_facts(table, row):
    """The last lines of a config's header: its cost, and the result in the paper."""
    height, width = table['shape']
    cost = COSTS[row['config']]
    in_paper = f' (paper: {row["params"]:.2f} M, {row["macs"]:.2f} G)' if 'params' in row else ''
    if cost is None:
        counted = f'depends on the genotype{in_paper}'
    else:
        params, macs = cost['params'] / 1e6, cost['macs'] / 1e9
        counted = f'{params:.2f} M parameters, {macs:.2f} GMACs at {height} x {width}{in_paper}'
    name, _, unit = table['metric'].partition(', ')
    result = f'{row["result"]} {unit} {name}'.replace('  ', ' ') if 'result' in row else 'no number'
    return f'Cost:   {counted}.\nPaper:  {result}. Not measured here.'


@pytest.mark.parametrize('name', ['resnet20_1xb256-500e_cifar10', 'se-resnet50_8xb32_in1k', 'ge-resnet50_8xb32_in1k'])
def test_recorded_costs_are_current(name):
    """A few configs only; tests/test_configs.py compares the parameters of all."""
    pytest.importorskip('mmpretrain')
    pytest.importorskip('timm')
    table, row = ROWS[name]
    assert count_row(table, row) == COSTS[row['config']], 'run: mmhoga paper --count'


def test_a_config_with_an_unpublished_genotype_has_no_cost():
    pytest.importorskip('mmpretrain')
    table, row = ROWS['hoga-k2-resnet20_1xb256-500e_cifar10']
    assert count_row(table, row) is None


def test_every_config_has_a_cost_and_nothing_else_has():
    assert list(COSTS) == [row['config'] for _, row in unique_rows(TABLES)]


def test_every_config_is_in_a_table_and_every_row_has_a_config():
    configs = {
        path.relative_to(ROOT / 'configs').as_posix()
        for path in (ROOT / 'configs').rglob('*.py')
        if not {'_base_', 'demo', 'finetune'} & set(path.parts)
    }
    own_searches = {path for path in configs if path.startswith('search/') and not path.endswith('_cifar10.py')}
    assert {row['config'] for _, row in unique_rows(TABLES)} | own_searches == configs


@pytest.mark.parametrize(
    ('table', 'row'),
    [pytest.param(table, row, id=name) for name, (table, row) in ROWS.items() if not re.search('digits|fashion', name)],
)
def test_config_header_has_command_cost_and_result(table, row):
    header = (ROOT / 'configs' / row['config']).read_text(encoding='utf-8').partition('"""\n\n')[0]
    script = train_command(row['config']).replace('mmhoga train', 'python tools/train.py')
    assert f'\n    {train_command(row["config"])}\n' in header or f'\n    {script}\n' in header
    if table['metric'] == 'genotype' and 'result' in row:
        assert "'autola'" in header  # Fig. 3
    else:
        assert header.endswith(f'\n\n{header_facts(table, row)}\n')


def test_counts_that_equal_the_papers():
    for name in ('resnet50', 'se-resnet50', 'hoga-resnet50', 'resnet101', 'se-resnet101', 'hoga-resnet101'):
        _, row = ROWS[f'{name}_8xb32_in1k']
        assert round(COSTS[row['config']]['params'] / 1e6, 2) == row['params']


def test_tables_have_the_papers_number_of_rows():
    counts = [(table['key'], len(table['rows'])) for table in TABLES if isinstance(table['key'], int)]
    assert counts == [(1, 12), (2, 12), (3, 8), (4, 20), (5, 4), (6, 20), (7, 4), (7, 4), (8, 4)]


@pytest.mark.parametrize(
    ('config', 'command'),
    [
        ('a/x_1xb256-500e_cifar10.py', 'mmhoga train configs/a/x_1xb256-500e_cifar10.py'),
        ('a/x_8xb32_in1k.py', 'tools/dist_train.sh configs/a/x_8xb32_in1k.py 8'),
        ('a/x_dark-4xb32-140e_c.py', 'tools/dist_train.sh configs/a/x_dark-4xb32-140e_c.py 4'),
        ('a/x_fpn_1x_coco.py', 'tools/dist_train.sh configs/a/x_fpn_1x_coco.py 8'),
    ],
)
def test_commands(config, command):
    assert train_command(config) == command


def test_printing_one_table(capsys):
    assert paper_main(['--table', '3']) == 0
    preface, text = capsys.readouterr().out.split('\n\n')
    assert 'None of its results has been measured here.' in preface
    heading, header, first, *rest = text.splitlines()
    assert heading == 'Table 3: ResNeXt and PNAS on CIFAR-10, 32 x 32'
    assert header.split('  ')[0] == 'model'
    assert 'top-1 accuracy, %' in header
    numbers, command = first.split('  mmhoga ')
    assert numbers.split()[2:] == ['1.72', '1.71', '0.26', '0.28', '94.76']
    assert command == 'train configs/cifar10/resnext29-8x4d_1xb256-500e_cifar10.py'
    assert len(rest) == 7


def test_columns_without_a_number_are_left_out(capsys):
    assert paper_main(['--table', '7', '--markdown']) == 0
    out = capsys.readouterr().out
    assert out.count('| model | params (M) | MACs (G) | box AP | config |') == 2
    assert '| SSD300, ResNet-50 + HOGA | 24.35 | 22.28 | 27.78 | `detection/ssd300_r50-hoga_4xb32-65e_coco.py` |' in out


def test_the_docs_have_the_tables_that_the_command_prints():
    page = (ROOT / 'docs' / 'costs.md').read_text(encoding='utf-8')
    printed = format_tables(TABLES, COSTS, markdown=True)
    assert page.endswith(f'\n## All tables\n\n{printed}\n'), 'replace the section with: mmhoga paper --markdown'


def test_counting_one_table_keeps_the_other_costs(tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmpretrain')
    monkeypatch.setattr(paper, 'count_row', lambda table, row: dict(params=1, macs=2))
    monkeypatch.setattr(paper, 'CONFIGS', tmp_path)
    for name in ('paper.yml', 'costs.json'):
        (tmp_path / name).write_bytes((ROOT / 'configs' / name).read_bytes())
    assert paper_main(['--table', '8', '--count']) == 0
    assert capsys.readouterr().out == f'4 costs in {tmp_path / "costs.json"} have changed.\n'
    counted = {row['config'] for table in TABLES if table['key'] == 8 for row in table['rows']}
    expected = {config: dict(params=1, macs=2) if config in counted else cost for config, cost in COSTS.items()}
    assert json.loads((tmp_path / 'costs.json').read_text()) == expected
    assert count_costs([table for table in TABLES if table['key'] == 8]) == 0


def test_counting_without_a_checkout_is_an_error(tmp_path, monkeypatch, capsys):
    installed = tmp_path / '.mim' / 'configs'
    installed.mkdir(parents=True)
    (installed / 'paper.yml').write_text('[]')
    monkeypatch.setattr(paper, 'CONFIGS', installed)
    assert paper_main(['--count']) == 2
    assert 'Run it in a checkout.' in capsys.readouterr().err


def test_an_unknown_table_is_an_error(capsys):
    with pytest.raises(SystemExit, match='2'):
        paper_main(['--table', '9'])
    assert 'invalid choice' in capsys.readouterr().err


def test_the_recorded_costs_are_written_as_the_command_writes_them():
    """So that counting again changes only lines whose numbers have changed."""
    lines = ',\n'.join(f'{json.dumps(config)}: {json.dumps(cost)}' for config, cost in COSTS.items())
    assert (ROOT / 'configs' / 'costs.json').read_text(encoding='utf-8') == f'{{\n{lines}\n}}\n'

"""What is checked in about the paper's tables is what tools/model_zoo.py writes, and the configs are those it names."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from mmhoga.cli.paper import BEGIN, COSTS, END, count_row, header_facts, read_costs, render, write_zoo, zoo_main
from mmhoga.paper import TABLES, Row, rows

pytest.importorskip('mmpretrain')
pytest.importorskip('timm')

ROOT = Path(__file__).resolve().parent.parent.parent
RECOMMENDATION = 'run: python tools/model_zoo.py'
ROWS = {row.name: (table, row) for table, row in rows()}


def test_every_file_is_current():
    for name, text in render(ROOT, read_costs(ROOT)).items():
        assert (ROOT / name).read_text(encoding='utf-8') == text, f'{name} is out of date; {RECOMMENDATION}'


@pytest.mark.parametrize(
    'name',
    [
        'resnet20_1xb256-500e_cifar10',
        'se-resnet50_8xb32_in1k',
        'ge-resnet50_8xb32_in1k',
    ],
)
def test_costs_are_current(name):
    """A few of them; tests/test_configs.py compares the parameters of all."""
    table, row = ROWS[name]
    assert count_row(ROOT, table, row) == read_costs(ROOT)[row.config], RECOMMENDATION


def test_a_genotype_that_is_yet_to_be_found_has_no_cost():
    table, row = ROWS['hoga-k2-resnet20_1xb256-500e_cifar10']
    assert count_row(ROOT, table, row) is None
    assert 'depends on the genotype (paper: 0.33 M, 0.05 G).' in header_facts(table, row, None)


def test_every_config_is_in_a_table_and_every_row_has_a_config():
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / 'configs').rglob('*.py')
        if not {'_base_', 'demo'} & set(path.parts)
    }
    ours = {path for path in there if path.startswith('configs/search/') and not path.endswith('_cifar10.py')}
    assert {row.config for _, row in rows()} | ours == there


@pytest.mark.parametrize(
    ('table', 'row'),
    [pytest.param(table, row, id=row.name) for table, row in rows() if 'digits' not in table.dataset],
)
def test_a_configs_docstring_has_its_command_its_cost_and_the_papers_number(table, row):
    docstring = (ROOT / row.config).read_text(encoding='utf-8').partition('"""\n\n')[0]
    assert f'\n    {row.command}\n' in docstring
    if row.name == 'hoga-search_resnet20_1xb128-100e_cifar10':  # has more to say
        assert "the genotype of Fig. 3, here 'autola'" in docstring
    else:
        assert docstring.endswith(f'\n\n{header_facts(table, row, read_costs(ROOT)[row.config])}\n')


def test_the_counts_that_the_paper_agrees_with_to_the_digit():
    costs = read_costs(ROOT)
    for name in ('resnet50', 'se-resnet50', 'hoga-resnet50', 'resnet101', 'se-resnet101', 'hoga-resnet101'):
        _, row = ROWS[f'{name}_8xb32_in1k']
        assert round(costs[row.config]['params'] / 1e6, 2) == row.params


def test_the_tables_have_the_papers_rows():
    assert {table.number: len(table.rows) for table in TABLES if table.number and table.number != '7'} == {
        '1': 12,
        '2': 12,
        '3': 8,
        '4': 20,
        '5': 4,
        '6': 20,
        '8': 4,
    }
    assert [len(table.rows) for table in TABLES if table.number == '7'] == [4, 4]


@pytest.mark.parametrize(
    ('config', 'command'),
    [
        ('configs/a/x_1xb256-500e_cifar10.py', 'python tools/train.py configs/a/x_1xb256-500e_cifar10.py'),
        ('configs/a/x_8xb32_in1k.py', 'tools/dist_train.sh configs/a/x_8xb32_in1k.py 8'),
        ('configs/a/x_dark-4xb32-140e_c.py', 'tools/dist_train.sh configs/a/x_dark-4xb32-140e_c.py 4'),
        ('configs/a/x_fpn_1x_coco.py', 'tools/dist_train.sh configs/a/x_fpn_1x_coco.py 8'),
    ],
)
def test_commands(config, command):
    assert Row('x', config).command == command


def test_metafiles_are_what_mim_reads():
    """The model index names metafiles; each model's config, README and collection are there, and no weights claimed."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    names = []
    for metafile in index['Import']:
        data = yaml.safe_load((ROOT / metafile).read_text())
        collections = {collection['Name'] for collection in data['Collections']}
        assert all((ROOT / collection['README']).is_file() for collection in data['Collections'])
        for model in data['Models']:
            assert model['In Collection'] in collections
            assert (ROOT / model['Config']).is_file()
            assert 'Weights' not in model
            assert model['Results'] is None
            names.append(model['Name'])
    assert len(names) == len(set(names)) == len(list(rows()))


def test_the_command_writes_what_is_missing_and_keeps_what_people_wrote(tmp_path, capsys):
    for folder in ('configs', 'docs'):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns('*.png', '__pycache__'))
    readme = tmp_path / 'configs' / 'pose' / 'README.md'
    before = readme.read_text()
    readme.write_text(before.replace('| ', '| x').replace('# Keypoints', '# My keypoints'))
    (tmp_path / 'configs' / 'pose' / 'metafile.yml').unlink()
    assert zoo_main(['--root', str(tmp_path), '--keep-costs']) == 0
    assert set(capsys.readouterr().out.split()) == {
        'configs/pose/README.md',
        'configs/pose/metafile.yml',
        'model-index.yml',
    }
    assert readme.read_text() == before.replace('# Keypoints', '# My keypoints')
    assert write_zoo(tmp_path, keep_costs=True) == []


def test_mistakes_are_told(tmp_path, capsys):
    assert zoo_main(['--root', str(tmp_path)]) == 2
    assert 'has no folder configs: run this in the repository' in capsys.readouterr().err
    (tmp_path / 'configs').mkdir()
    (tmp_path / COSTS).write_text(json.dumps(read_costs(ROOT)))
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs' / 'costs.md').write_text('no marks')
    assert zoo_main(['--root', str(tmp_path), '--keep-costs']) == 2
    error = capsys.readouterr().err
    assert BEGIN in error
    assert END in error

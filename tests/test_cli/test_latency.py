"""``mmhoga latency``."""

import json
from pathlib import Path

import pytest
from small_configs import SEARCH

from mmhoga.cli.costs import latency_main
from mmhoga.search.costs import read_latencies


@pytest.fixture
def config(tmp_path, monkeypatch):
    pytest.importorskip('mmpretrain')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'config.py').write_text(SEARCH)
    (tmp_path / 'no_search.py').write_text("model = dict(type='mmhoga.ResNet', depth=18)")
    return ['config.py', '--seconds', '0.001', '--device', 'cpu']


def test_a_table_of_every_candidate_and_size(config, capsys):
    """The cost of the config may name a table that does not exist yet, and gives the shape."""
    cost = [
        f'model.cost.{setting}' for setting in ('metric=latency', 'table=t.json', 'input_shape=(1,8,8)', 'weight=1')
    ]
    assert latency_main([*config, '--out', 't.json', '--batch-size', '2', '--cfg-options', *cost]) == 0
    assert 't.json: 21 entries, on cpu' in capsys.readouterr().out
    table = read_latencies('t.json')
    assert table['se', 2, 8, 8] > 0 and table['cbam', 8, 2, 2] > 0
    meta = json.loads(Path('t.json').read_text())['meta']
    assert meta['batch_size'] == 2 and meta['device'] == 'cpu'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'config.py sets no cost.input_shape: add --input-shape C H W'),
        (['--input-shape', '3', '8', '8'], '--input-shape 3 8 8 does not fit'),
        (['--input-shape', '1', '8', '8', '--device', 'nix'], '--device nix is not available'),
    ],
)
def test_mistakes_are_one_paragraph(config, capsys, arguments, message):
    assert latency_main([*config, *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('error: ') and message in error


def test_a_config_that_is_not_a_search(config, capsys):
    assert latency_main(['no_search.py', '--input-shape', '3', '32', '32']) == 2
    assert 'its model is ResNet, not SearchModel' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--seconds', '-1'], '--seconds: must be a positive number, not -1'),
        (['--seconds', 'nan'], '--seconds: must be a positive number, not nan'),
        (['--batch-size', '0'], '--batch-size: must be a positive integer, not 0'),
        (['--input-shape', '1', '8', '-8'], '--input-shape: must be a positive integer, not -8'),
        (['--out', 'nowhere/x.json'], '--out: nowhere is not a folder that can be written to'),
    ],
)
def test_arguments_that_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        latency_main(['config.py', *arguments])
    assert error.value.code == 2
    assert message in capsys.readouterr().err

"""``mmhoga flops``."""

import pytest
from small_configs import DETECTOR, SEARCH

from mmhoga.cli.costs import flops_main


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Write a config into an empty current folder."""
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / 'config.py').write_text(text)
        return 'config.py'

    return write


def rows(capsys):
    title, header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ['params', '(M)', 'MACs', '(G)']
    return title, {line.split()[0]: [float(number) for number in line.split()[1:]] for line in lines}


def test_one_number_or_two(capsys):
    pytest.importorskip('mmpretrain')
    name = 'hoga-resnet8_1xb96-8e_digits'
    assert flops_main([name, '--shape', '8']) == 0
    title, square = rows(capsys)
    assert title == f'{name} at 8 x 8' and list(square) == ['backbone', 'neck', 'head', 'total']
    assert flops_main([name, '--shape', '8', '16']) == 0
    title, wide = rows(capsys)
    assert title == f'{name} at 8 x 16'
    assert wide['total'][0] == square['total'][0] and wide['total'][1] > 1.9 * square['total'][1]


def test_a_search_model(config, capsys):
    pytest.importorskip('mmpretrain')
    assert flops_main([config(SEARCH), '--shape', '8']) == 0
    _, counted = rows(capsys)
    assert list(counted) == ['architecture.backbone', 'architecture.neck', 'architecture.head', 'total']


def test_a_detector(config, capsys):
    pytest.importorskip('mmdet')
    assert flops_main([config(DETECTOR), '--shape', '64', '96']) == 0
    assert list(rows(capsys)[1]) == ['backbone', 'neck', 'bbox_head', 'total']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--shape', '8', '8', '8'], '--shape takes height and width, or one number for both, not 3 numbers.'),
        (['--cfg-options', 'model.architecture.backbone.type=mmhoga.CIFARResNetX'], 'CIFARResNetX is not in'),
        (['--cfg-options', 'model.architecture.backbone.plugins.0.cfg.num_groups=3'], 'a multiple of 3'),
    ],
)
def test_mistakes_are_one_paragraph(config, capsys, arguments, message):
    pytest.importorskip('mmpretrain')
    assert flops_main([config(SEARCH), *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('error: ') and message in error


def test_an_unknown_genotype_in_a_config(config, capsys):
    plugin = "dict(cfg=dict(type='mmhoga.HOGA', genotype='nix'), position='after_conv2')"
    text = f"model = dict(type='mmhoga.ResNet', depth=18, plugins=[{plugin}])"
    assert flops_main([config(text)]) == 2
    assert "Unknown genotype 'nix'" in capsys.readouterr().err.splitlines()[-1]


def test_an_image_that_is_too_small(config, capsys):
    text = 'from torch import nn\nmodel = dict(type=nn.Conv2d, in_channels=3, out_channels=3, kernel_size=5)'
    assert flops_main([config(text), '--shape', '4']) == 2
    assert 'does not run on an image of shape (3, 4, 4)' in capsys.readouterr().err


def test_shapes_that_are_refused(capsys):
    with pytest.raises(SystemExit):
        flops_main(['config.py', '--shape', '0'])
    assert '--shape: must be a positive integer, not 0' in capsys.readouterr().err

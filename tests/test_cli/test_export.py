"""tools/deployment/export.py, in this process: its file is three lines."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmhoga.cli.export import export_main
from mmhoga.deploy import disagreement
from mmhoga.deploy.export import TensorsOnly
from mmhoga.hosts import import_mmpretrain, load_config

CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmhoga.CIFARResNet', depth=8, base_channels=8, plugins=[
        dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2', stages=(True, False, False))]),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=32))
"""


@pytest.fixture
def trained(tmp_path):
    """A config, a checkpoint, the model."""
    (tmp_path / 'config.py').write_text(CONFIG)
    cfg = load_config(str(tmp_path / 'config.py'))
    import_mmpretrain(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model).eval()
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'weights.pth')
    return str(tmp_path / 'config.py'), str(tmp_path / 'weights.pth'), model


@pytest.mark.parametrize('part', [None, 'backbone'])
def test_a_program(trained, tmp_path, capsys, part):
    config, checkpoint, model = trained
    out = tmp_path / 'x.pt2'
    arguments = [config, checkpoint, '--out', str(out), '--shape', '3', '16', '16']
    assert export_main([*arguments, *(['--part', part] if part else [])]) == 0
    assert 'outputs for 1, 2 and 3 images equal' in capsys.readouterr().out
    program = torch.export.load(out)
    assert not any('batch_norm' in str(node.target) for node in program.graph.nodes)
    x = torch.randn(4, 3, 16, 16)
    expected = TensorsOnly(model.backbone if part else model)(x)
    assert disagreement(expected, program.module()(x)) < 1e-5


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--out', 'x.pth'], 'the suffix says what to write, .onnx or .pt2'),
        (['--out', 'nowhere/x.pt2'], 'there is no folder nowhere'),
        (['--out', 'x.pt2', '--shape', '16'], '--shape takes channels, height and width, not 1 numbers'),
        (['--out', 'x.pt2', '--part', 'tail'], 'ImageClassifier has no such part, but: '),
    ],
)
def test_mistakes_are_one_line(trained, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert export_main([*trained[:2], *arguments]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith('error: ') and message in last
    assert not list(tmp_path.glob('x.*'))

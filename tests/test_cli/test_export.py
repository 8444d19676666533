"""``mmhoga export`` in each of its forms."""

import importlib.util

import pytest
import torch
from small_configs import CLASSIFIER, DETECTOR, PLUGIN, POSE, TWO_STAGE
from tensorrt import unsupported

from mmhoga.cli.export import export_main
from mmhoga.deploy import Detector, TensorsOnly, check_detections, check_outputs, run_onnx
from mmhoga.hosts import build_model, import_mmpretrain, load_config

NETWORKS = {
    'classifier': CLASSIFIER.replace('PLUGINS', PLUGIN).replace('INDICES', '4'),
    'detector': DETECTOR,
    'two-stage': TWO_STAGE,
    'pose': POSE,
}
HOSTS = {'classifier': 'mmpretrain', 'detector': 'mmdet', 'two-stage': 'mmdet', 'pose': 'mmpose'}
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ('onnx', 'onnxruntime', 'onnxscript')),
    reason="onnx, onnxruntime and onnxscript are not installed: pip install 'mmhoga[deploy]'",
)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Create a work_dir of a network once, and return it with the network."""
    created = {}

    def create(name):
        if name not in created:
            pytest.importorskip(HOSTS[name])
            folder = tmp_path_factory.mktemp(name)
            # One small cell is enough, and none for the pose model: an export takes seconds per cell.
            last = (False,) * (2 if name == 'classifier' else 3) + (name != 'pose',)
            cell = "type='mmhoga.HOGA', genotype=[['norm_3x3'], ['cbam', 'spatial_3x3']]"
            text = NETWORKS[name].replace("type='mmhoga.HOGA'", cell)
            text = text.replace("position='after_conv2'", f"position='after_conv2', stages={last}")
            (folder / 'config.py').write_text(text)
            cfg = load_config(str(folder / 'config.py'))
            import_mmpretrain(cfg)
            torch.manual_seed(0)
            model = build_model(cfg).eval()
            torch.save({'state_dict': model.state_dict()}, folder / 'epoch_1.pth')
            (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
            created[name] = folder, model
        return created[name]

    return create


def export(folder, out, *arguments):
    return export_main(
        [str(value) for value in (folder / 'config.py', folder / 'epoch_1.pth', '--out', out, *arguments)]
    )


@pytest.mark.parametrize(
    ('name', 'shape', 'suffix'),
    [
        ('classifier', (1, 8, 8), '.pt2'),
        pytest.param('detector', (3, 64, 96), '.onnx', marks=needs_onnx),
        pytest.param('pose', (3, 64, 96), '.onnx', marks=needs_onnx),
    ],
)
@torch.no_grad()
def test_a_network(trained, tmp_path, capsys, monkeypatch, name, shape, suffix):
    """The file takes any number of images of any size; that of a detector returns boxes."""
    folder, model = trained(name)
    monkeypatch.chdir(tmp_path)
    assert export(folder, f'x{suffix}', '--shape', *shape) == 0
    assert 'The file takes any height and width.' in capsys.readouterr().out
    x = torch.randn(4, shape[0], shape[1] + 9, shape[2] - 1)
    if suffix == '.onnx':
        outputs = run_onnx('x.onnx', x)
        assert not unsupported((tmp_path / 'x.onnx').read_bytes())
    else:
        program = torch.export.load('x.pt2')
        assert not any('batch_norm' in str(node.target) for node in program.graph.nodes)
        outputs = program.module()(x)
    if name == 'detector':
        assert [output.name for output in onnx_outputs('x.onnx')] == ['boxes', 'scores', 'labels']
        check_detections(outputs, Detector(model)(x), 1e-4)
    else:
        check_outputs(outputs, TensorsOnly(model)(x), 1e-4)


def onnx_outputs(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider']).get_outputs()


@torch.no_grad()
def test_a_part_of_a_work_dir_without_fusing(trained, tmp_path, capsys):
    """The shape defaults to the channels of the first convolution, here 1, and 224 x 224."""
    folder, model = trained('classifier')
    out = tmp_path / 'x.pt2'
    assert export_main([str(folder), '--out', str(out), '--part', 'backbone', '--no-fuse', '--fixed-size']) == 0
    assert 'The file takes only this height and width.' in capsys.readouterr().out
    program, x = torch.export.load(out), torch.randn(1, 1, 224, 224)
    assert any('batch_norm' in str(node.target) for node in program.graph.nodes)
    check_outputs(program.module()(x), model.backbone(x), 1e-4)


@pytest.mark.parametrize(
    ('name', 'arguments', 'message'),
    [
        ('classifier', ['--out', 'x.pt2', '--part', 'tail'], "ImageClassifier has no layer 'tail'. "),
        ('classifier', ['--out', 'x.pt2', '--shape', '3', '8', '8'], 'to have 1 channels, but got 3 channels'),
        (
            'two-stage',
            ['--out', 'x.pt2', '--shape', '3', '64', '64', '--head-maps'],
            'Export a part of it, such as --part backbone.',
        ),
        (
            'two-stage',
            ['--out', 'x.pt2', '--cfg-options', 'model.test_cfg.rcnn.nms.type=soft_nms'],
            'FasterRCNN cannot be exported with its boxes: its NMS is',
        ),
        ('two-stage', ['--out', 'x.pt2', '--part', 'neck'], 'FPN does not run on a tensor of (2, 8, 224, 224) alone'),
        ('classifier', ['--out', 'x.pt2', '--cfg-options', 'model.backbone.plugins.0.cfg.genotype=nix'], 'nix'),
    ],
)
def test_mistakes_are_one_paragraph(trained, tmp_path, monkeypatch, capsys, name, arguments, message):
    folder, _ = trained(name)
    monkeypatch.chdir(tmp_path)
    assert export_main([str(folder), *arguments]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith('error: ') and message in last
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--shape', '16'], '--shape: expected 3 arguments'),
        (['--shape', '0', '16', '16'], '--shape: must be a positive integer, not 0'),
        (['--out', 'x.pth'], '--out: the name must end in .onnx or .pt2, not x.pth'),
        (['--out', 'nowhere/x.pt2'], '--out: nowhere is not a folder that can be written to'),
    ],
)
def test_arguments_that_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        export_main(['work_dir', '--out', 'x.pt2', *arguments])
    assert error.value.code == 2
    assert message in capsys.readouterr().err

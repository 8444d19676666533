"""``mmhoga export`` in each of its forms."""

import importlib.util

import pytest
import torch
from small_configs import CLASSIFIER, PLUGIN, POSE, TWO_STAGE

from mmhoga.cli.export import export_main
from mmhoga.deploy import TensorsOnly, check_outputs, run_onnx
from mmhoga.hosts import build_model, import_mmpretrain, load_config

NETWORKS = {
    'classifier': CLASSIFIER.replace('PLUGINS', PLUGIN).replace('INDICES', '4'),
    'detector': TWO_STAGE,
    'pose': POSE,
}
# One stage with HOGA is enough: an export takes seconds per cell.
LAST = {
    'classifier': (False, False, True),
    'detector': (False, False, False, True),
    'pose': (False, False, False, True),
}
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
            pytest.importorskip({'classifier': 'mmpretrain', 'detector': 'mmdet', 'pose': 'mmpose'}[name])
            folder = tmp_path_factory.mktemp(name)
            place = "position='after_conv2'"
            (folder / 'config.py').write_text(NETWORKS[name].replace(place, f'{place}, stages={LAST[name]}'))
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
    ('name', 'part', 'shape', 'suffix'),
    [
        pytest.param('classifier', None, (1, 8, 8), '.onnx', marks=needs_onnx),
        ('classifier', None, (1, 8, 8), '.pt2'),
        ('classifier', 'backbone', (1, 8, 8), '.pt2'),
        pytest.param('detector', 'backbone', (3, 64, 64), '.onnx', marks=needs_onnx),
        pytest.param('pose', None, (3, 64, 96), '.onnx', marks=needs_onnx),
    ],
)
def test_a_network_or_a_part(trained, tmp_path, capsys, monkeypatch, name, part, shape, suffix):
    folder, model = trained(name)
    monkeypatch.chdir(tmp_path)
    assert export(folder, f'x{suffix}', '--shape', *shape, *(['--part', part] if part else [])) == 0
    assert 'outputs for 1, 2 and 3 images equal' in capsys.readouterr().out
    x = torch.randn(4, *shape)
    if suffix == '.onnx':
        outputs = run_onnx('x.onnx', x)
    else:
        program = torch.export.load('x.pt2')
        is_folded = not any('batch_norm' in str(node.target) for node in program.graph.nodes)
        assert is_folded or name == 'pose'  # its head has norms after transposed convolutions
        outputs = program.module()(x)
    with torch.no_grad():
        check_outputs(outputs, TensorsOnly(model.get_submodule(part) if part else model)(x), 1e-4)


def test_a_work_dir_without_fusing(trained, tmp_path):
    """The shape defaults to the channels of the first convolution, here 1."""
    folder, _ = trained('classifier')
    out = tmp_path / 'x.pt2'
    assert export_main([str(folder), '--out', str(out), '--no-fuse']) == 0
    program = torch.export.load(out)
    assert any('batch_norm' in str(node.target) for node in program.graph.nodes)
    assert program.module()(torch.randn(1, 1, 224, 224)) is not None


@pytest.mark.parametrize(
    ('name', 'arguments', 'message'),
    [
        ('classifier', ['--out', 'x.pt2', '--part', 'tail'], "ImageClassifier has no layer 'tail'. "),
        ('classifier', ['--out', 'x.pt2', '--shape', '3', '8', '8'], 'to have 1 channels, but got 3 channels'),
        ('detector', ['--out', 'x.pt2', '--shape', '3', '64', '64'], 'Export a part of it, such as --part backbone.'),
        ('detector', ['--out', 'x.pt2', '--part', 'neck'], 'FPN does not run on a tensor of (2, 8, 224, 224) alone'),
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

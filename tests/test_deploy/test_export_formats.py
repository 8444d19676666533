"""ONNX files, torch.export programs and torch.compile. The ONNX tests need the extra ``deploy``."""

import importlib.util

import pytest
import torch
from torch import nn

from mmhoga.backbones import CIFARResNet
from mmhoga.compat import import_hooks  # noqa: F401 (mmdet imports with mmcv-lite)
from mmhoga.deploy import TensorsOnly, check_outputs, export_onnx, export_program, fuse, run_onnx
from mmhoga.models import HOGA, SearchableHOGA

PLUGIN = dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')

onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ('onnx', 'onnxruntime', 'onnxscript')),
    reason="onnx, onnxruntime and onnxscript are not installed: pip install 'mmhoga[deploy]'",
)


def classifier():
    from mmpretrain.models import ImageClassifier

    head = dict(type='LinearClsHead', num_classes=10, in_channels=32)
    backbone = dict(
        type='mmhoga.CIFARResNet', depth=8, base_channels=8, plugins=[dict(PLUGIN, stages=(False, False, True))]
    )
    return shaken(ImageClassifier(backbone, neck=dict(type='GlobalAveragePooling'), head=head))


def detector_backbone():
    from mmdet.models import ResNet

    return shaken(
        ResNet(
            50,
            num_stages=2,
            base_channels=8,
            strides=(1, 2),
            dilations=(1, 1),
            out_indices=(0, 1),
            plugins=[dict(PLUGIN, stages=(True, False))],
        )
    )


def shaken(model):
    """Give the norms statistics and weights that matter when they are folded."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return TensorsOnly(model).eval()


@onnx
@pytest.mark.parametrize('build', [classifier, detector_backbone])
def test_onnx_of_any_batch(build, tmp_path):
    model = build()
    example = torch.randn(2, 3, 32, 32)
    export_onnx(fuse(model, example), example, tmp_path / 'model.onnx')
    assert [path.name for path in tmp_path.iterdir()] == ['model.onnx']
    for images in (1, 5):
        x = torch.randn(images, 3, 32, 32)
        check_outputs(run_onnx(tmp_path / 'model.onnx', x), model(x), 1e-4)


def test_program_of_any_batch(tmp_path):
    model = classifier()
    program = export_program(model, torch.randn(2, 3, 32, 32))
    torch.export.save(program, tmp_path / 'model.pt2')
    loaded = torch.export.load(tmp_path / 'model.pt2').module()
    for images in (1, 5):
        x = torch.randn(images, 3, 32, 32)
        check_outputs(loaded(x), model(x), 1e-5)


@onnx
@pytest.mark.filterwarnings('ignore')
def test_the_exporter_of_mmdeploy_at_another_size(tmp_path):
    """``dynamo=False`` traces: a division by the number of pixels, for example, would become a constant."""
    import onnxruntime

    genotype = [['se'], ['cbam', 'norm_3x3'], ['spatial_3x3', 'skip_connect', 'se_avgmax'], ['se'] * 4]
    cell = shaken(HOGA(8, genotype=genotype))
    path = str(tmp_path / 'cell.onnx')
    axes = {'x': {0: 'n', 2: 'h', 3: 'w'}}
    options = dict(dynamo=False, opset_version=11, input_names=['x'], dynamic_axes=axes)
    torch.onnx.export(cell.model, (torch.randn(2, 8, 8, 8),), path, **options)
    x = torch.randn(3, 8, 14, 10)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    check_outputs([torch.from_numpy(y) for y in session.run(None, {'x': x.numpy()})], [cell(x)], 1e-5)


def test_an_example_of_one_image_is_refused():
    with pytest.raises(ValueError, match='two or more images, not 1'):
        export_program(nn.Identity(), torch.randn(1, 3))


@pytest.mark.parametrize('cell', [HOGA, SearchableHOGA])
@pytest.mark.parametrize('training', [True, False])
def test_compile_finds_no_graph_break(cell, training):
    """``fullgraph`` turns a break into an error. Outputs and gradients are those of the uncompiled cell."""
    cell = cell(16).double().train(training)  # compiled, narrow convolutions add up in another order
    x = torch.randn(2, 16, 6, 6, dtype=torch.float64, requires_grad=True)
    results = []
    for form in (cell, torch.compile(cell, backend='eager', fullgraph=True)):
        y = form(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *cell.parameters()])))
    torch.testing.assert_close(*results)


def test_a_network_compiles_whole():
    model = CIFARResNet(8, base_channels=8, plugins=[PLUGIN])
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(torch.compile(model, backend='eager', fullgraph=True)(x), model(x))


def test_the_former_place_of_tensors_only():
    from mmhoga.deploy.export import TensorsOnly as former

    assert former is TensorsOnly

"""``torch.fx``: a cell is recorded as one call, so that a network with cells can be traced and quantised."""

import copy

import pytest
import torch
from torch import nn
from torch.fx import symbolic_trace

import mmhoga
from mmhoga.backbones import CIFARResNet, ResNet
from mmhoga.deploy import fuse
from mmhoga.models import HOGA

X = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def calibrated(model):
    """Norms with the statistics of some images."""
    torch.manual_seed(0)
    for _ in range(4):
        model.train()(torch.randn(8, 3, 32, 32))
    return model.eval()


def backbone(build, kind='mmhoga.HOGA', depth=8, **kwargs):
    plugin = dict(cfg=dict(type=kind), position='after_conv2')
    return calibrated(build(depth, base_channels=8, plugins=[plugin], **kwargs))


def inserted(after):
    layers = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))
    network = nn.Sequential(*layers, block, nn.AdaptiveAvgPool2d(1))
    return calibrated(mmhoga.insert(network, dict(type='mmhoga.HOGA'), after=after))


NETWORKS = {
    'Basic': lambda: backbone(CIFARResNet),
    'Bottleneck': lambda: backbone(ResNet, depth=50, num_stages=2, out_indices=(1,)),
    'fused': lambda: fuse(backbone(CIFARResNet), X),
    'supernet': lambda: backbone(CIFARResNet, 'mmhoga.SearchableHOGA'),
    'inserted after a convolution': lambda: inserted('0'),
    'inserted after a norm': lambda: inserted('1'),
    'inserted after a block': lambda: inserted('3'),
}


def last(output):
    return output[-1] if isinstance(output, tuple) else output


@pytest.mark.parametrize('name', NETWORKS)
@torch.no_grad()
def test_a_traced_network_computes_the_same(name):
    network = NETWORKS[name]()
    assert torch.equal(last(symbolic_trace(network)(X)), last(network(X)))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', ['fused', 'inserted after a convolution', 'inserted after a norm'])
@torch.no_grad()
def test_quantisation_keeps_the_cells(name):
    """FX quantisation replaces the layers around the cells, which stay in single precision."""
    quantization = pytest.importorskip('torch.ao.quantization')
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    engines = torch.backends.quantized.supported_engines
    torch.backends.quantized.engine = next(engine for engine in ('x86', 'qnnpack', 'fbgemm') if engine in engines)
    network = NETWORKS[name]()
    prepared = prepare_fx(copy.deepcopy(network), quantization.get_default_qconfig_mapping(), (X,))
    prepared(X)
    quantised = convert_fx(prepared)
    assert any('quantized' in type(module).__module__ for module in quantised.modules())
    cells = [module for module in quantised.modules() if isinstance(module, HOGA)]
    assert len(cells) == sum(isinstance(module, HOGA) for module in network.modules()) > 0
    expected = last(network(X))
    assert (last(quantised(X)) - expected).norm() < 0.15 * expected.norm()
    for cell in cells:  # without its cells the network computes something else
        cell.forward = lambda x: 0 * x
    assert (last(quantised(X)) - expected).norm() > 0.3 * expected.norm()


def test_a_cell_alone_cannot_be_traced():
    with pytest.raises(TypeError, match=r'HOGA as one call, .* Trace a network that has it as a submodule'):
        symbolic_trace(HOGA(8))

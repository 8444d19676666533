"""Copies, conversions and exports of a network with inserted cells compute what the network computes.

The cells have random weights: that of an identity would hide a cell that is lost, doubled or at another place.
"""

import copy
import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cells import randomize
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage, revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, load_checkpoint
from torch import nn
from warm_python import warm_python

import mmhoga
from mmhoga.compat import import_hooks  # noqa: F401 (mmdet imports with mmcv-lite)
from mmhoga.deploy import check_outputs, export_program, fuse
from mmhoga.insertion import cells_of

CELL = dict(type='mmhoga.HOGA', genotype=[['norm_3x3'], ['cbam', 'spatial_3x3']])


class Block(nn.Module):
    """Convolutions and norms, with the names and in the order of a ResNet."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        return x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()


class Tokens(nn.Module):
    """A class token and ``(N, H W, C)`` tokens through one layer, then maps ``(N, H, W, C)`` through another."""

    def __init__(self, channels):
        super().__init__()
        self.embed = nn.Conv2d(3, channels, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, channels))
        self.mlp = nn.Linear(channels, channels)
        self.last = nn.Linear(channels, channels)

    def forward(self, x):
        x = self.embed(x)
        tokens = torch.cat((self.token.expand(x.size(0), -1, -1), x.flatten(2).transpose(1, 2)), dim=1)
        tokens = tokens + self.mlp(tokens).relu()
        return self.last(tokens[:, 1:].unflatten(1, x.shape[2:]))


def plain(kind='maps'):
    network = Tokens(8) if kind == 'tokens' else nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), Block(8))
    return randomize(network).eval()


def inserted(where, kind='maps'):
    network = mmhoga.insert(plain(kind), CELL, **where)
    for cell in cells_of(network).values():
        randomize(cell)
    return network


PLACES = {
    'after convolutions': dict(after=r'\d\.conv2'),
    'after norms': dict(after=r'\d\.bn1'),
    'before convolutions': dict(before=r'\d\.conv2'),
    'before norms': dict(before=r'\d\.bn1'),
    'after blocks and inside': dict(after=r'\d|\d\.conv1|\d\.bn1|\d\.conv2'),
    'after tokens': dict(after='mlp|last'),
}


def build(places):
    """One cell or more, none of which is the identity."""
    return inserted(PLACES[places], 'tokens' if 'tokens' in places else 'maps')


IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def assigned(network):
    other = copy.deepcopy(network).to('meta')
    other.load_state_dict({name: value.clone() for name, value in network.state_dict().items()}, assign=True)
    return other


def called_with(tensors):
    """A network with other weights, which are replaced in each call."""

    def form(network):
        other = randomize(copy.deepcopy(network))
        return lambda x: torch.func.functional_call(other, tensors(network), x)

    return form


def own_tensors(network):
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def synchronised(network):
    return nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(network))


def fused_by_mmcv(network):
    from mmcv.cnn.utils import fuse_conv_bn

    return fuse_conv_bn(copy.deepcopy(network))


FORMS = {
    'copy': copy.deepcopy,
    'pickle': lambda network: pickle.loads(pickle.dumps(network)),
    'load_state_dict(assign=True)': assigned,
    'functional_call, keys of the state dict': called_with(lambda network: network.state_dict()),
    'functional_call, names of parameters': called_with(own_tensors),
    'SyncBatchNorm': synchronised,
    'revert_sync_batchnorm': lambda network: revert_sync_batchnorm(synchronised(network)),
    'average': ExponentialMovingAverage,
    'mmhoga.fuse': lambda network: fuse(network, IMAGES),
    'mmcv fuse_conv_bn': fused_by_mmcv,
    'channels_last': lambda network: copy.deepcopy(network).to(memory_format=torch.channels_last),
    'double': lambda network: lambda x: copy.deepcopy(network).double()(x.double()).float(),
}


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('places', PLACES)
@torch.no_grad()
def test_a_form_computes_the_same(places, form):
    network = build(places)
    keys, expected = list(network.state_dict()), network(IMAGES)
    check_outputs(FORMS[form](network)(IMAGES), expected, 1e-5)
    assert list(network.state_dict()) == keys
    assert torch.equal(network(IMAGES), expected)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
@torch.no_grad()
def test_half_precision(dtype):
    network = build('after norms')
    output = copy.deepcopy(network).to(dtype)(IMAGES.to(dtype))
    assert output.dtype == dtype
    check_outputs(output.float(), network(IMAGES), 0.01 if dtype == torch.half else 0.1)


def one_cell(kind):
    """The smallest network of a kind, for exporters, which take seconds per cell."""
    if kind == 'tokens':
        return randomize(mmhoga.insert(plain('tokens'), CELL, after='mlp'))
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8))
    return randomize(mmhoga.insert(network.eval(), CELL, after='1'))


@pytest.mark.parametrize('kind', ['maps', 'tokens'])
@torch.no_grad()
def test_traces_and_exports(kind):
    network = one_cell(kind)
    expected = network(IMAGES)
    check_outputs(torch.jit.trace(network, IMAGES)(IMAGES), expected, 1e-5)
    program = export_program(network, IMAGES).module()
    for number in (1, 2):
        check_outputs(program(IMAGES[:number]), expected[:number], 1e-5)


@pytest.mark.parametrize('kind', ['maps', 'tokens'])
def test_compile_finds_no_graph_break(kind):
    network, results = one_cell(kind), []
    for form in (network, torch.compile(network, backend='eager', fullgraph=True)):
        network.zero_grad()
        output = form(IMAGES)
        output.square().mean().backward()
        results.append([output, *(parameter.grad.clone() for parameter in network.parameters())])
    torch.testing.assert_close(*results)


def test_a_symbolic_trace_has_the_cells_as_leaves():
    network = build('before norms')
    traced = torch.fx.symbolic_trace(network)
    assert '1.bn1.hoga' in {node.target for node in traced.graph.nodes}
    check_outputs(traced(IMAGES), network(IMAGES), 1e-5)


@pytest.mark.parametrize('where', [dict(after=r'\d\.bn1|\d\.conv2'), dict(before=r'\d\.bn2|\d\.conv1')])
@torch.no_grad()
def test_fuse_folds_a_norm_only_where_no_cell_is_between(where):
    network = inserted(where)
    expected = network(IMAGES)
    fused = fuse(network, IMAGES)
    check_outputs(fused(IMAGES), expected, 1e-5)
    cells = cells_of(fused)
    assert len(cells) == 2
    assert not any(isinstance(module, nn.BatchNorm2d) for cell in cells.values() for module in cell.modules())


@pytest.mark.parametrize('where', [dict(after=r'\d\.conv1'), dict(before=r'\d\.conv1')])
@torch.no_grad()
def test_fuse_with_an_inserted_norm(where):
    """A batch norm after a convolution folds into it, and one before it does not."""
    network = mmhoga.insert(plain(), nn.BatchNorm2d, **where, start='random')
    for cell in cells_of(network).values():
        randomize(cell)
    fused = fuse(network, IMAGES)
    check_outputs(fused(IMAGES), network(IMAGES), 1e-5)
    left = {type(cell) for cell in cells_of(fused).values()}
    assert left == ({nn.Identity} if 'after' in where else {nn.BatchNorm2d})


@pytest.mark.parametrize('places', ['after convolutions', 'after tokens'])
def test_autocast(places):
    """Under bfloat16 the identity is exact, and the parameters get the gradients of float32 within its precision."""
    kind = 'tokens' if 'tokens' in places else 'maps'
    torch.manual_seed(0)
    network = plain(kind)
    with torch.autocast('cpu', torch.bfloat16):
        expected = network(IMAGES)
        mmhoga.insert(network, CELL, **PLACES[places])
        output = network(IMAGES)
    assert output.dtype == expected.dtype == torch.bfloat16 or kind == 'maps'
    assert torch.equal(output, expected)
    network = build(places).train()
    with torch.autocast('cpu', torch.bfloat16):
        loss = network(IMAGES).float().square().mean()
    loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == p.dtype for p in network.parameters())


HRNET = {
    f'stage{number}': dict(
        num_modules=1,
        num_branches=number,
        block='BOTTLENECK' if number == 1 else 'BASIC',
        num_blocks=(1,) * number,
        num_channels=(4, 8, 16, 32)[:number],
    )
    for number in (1, 2, 3, 4)
}
CHECKPOINTED = {
    'mmdet': (
        dict(type='ResNet', depth=50, base_channels=8, num_stages=2, strides=(1, 2), dilations=(1, 1)),
        dict(out_indices=(0, 1), norm_eval=False),
        r'layer\d\.\d\.conv2',
    ),
    'mmpretrain': (
        dict(type='ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8]), drop_path_rate=0.0),
        dict(gap_before_final_norm=False),
        r'stages\.\d\.\d\.depthwise_conv',
    ),
    'mmpose': (dict(type='HRNet', extra=HRNET), {}, r'stage\d\.0\.branches\.\d\.0\.conv2'),
}


@pytest.mark.parametrize('host', CHECKPOINTED)
def test_with_cp(host):
    """Gradient checkpointing of the blocks that contain the cells changes neither outputs nor gradients."""
    importlib.import_module(f'{host}.models')
    init_default_scope(host)
    first, second, after = CHECKPOINTED[host]
    config, results = {**first, **second}, []
    for with_cp in (False, True):
        torch.manual_seed(0)
        network = mmhoga.insert(MODELS.build({**config, 'with_cp': with_cp}), CELL, after=after).train()
        for cell in cells_of(network).values():
            randomize(cell)
        images = torch.randn(2, 3, 32, 32, requires_grad=True)
        outputs = network(images)
        sum(output.square().mean() for output in outputs).backward()
        results.append([*outputs, images.grad, *(parameter.grad for parameter in network.parameters())])
    torch.testing.assert_close(*results)


CLASSIFIER = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=10, mean=[78.0], std=[96.0], to_rgb=False),
    backbone=dict(
        type='mmhoga.Insert', into='mmhoga.CIFARResNet', depth=8, in_channels=1, base_channels=8,
        cell=dict(type='mmhoga.HOGA', genotype='hog_se'), after=r'layer\\d\\.0'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=32))
train_dataloader = dict(
    batch_size=8,
    dataset=dict(type='mmhoga.Digits', split='train', indices=32, pipeline=[dict(type='PackInputs')]),
    sampler=dict(type='DefaultSampler', shuffle=False))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
train_cfg = dict(by_epoch=True, max_epochs=2)
custom_hooks = [dict(type='EMAHook', momentum=0.1, update_buffers=True)]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
randomness = dict(seed=0)
"""


def run(tmp_path, name, **settings):
    config = Config.fromstring(CLASSIFIER, '.py')
    config.work_dir = str(tmp_path / name)
    config.merge_from_dict(settings)
    runner = Runner.from_cfg(config)
    runner.train()
    return runner, torch.load(tmp_path / name / 'epoch_2.pth', weights_only=False)


def test_a_runner_with_averaged_weights_resumes(tmp_path):
    """EMAHook saves and resumes the average of a network with cells, and its checkpoint loads strictly."""
    _, expected = run(tmp_path, 'whole')
    runner, checkpoint = run(tmp_path, 'resumed', resume=True, load_from=str(tmp_path / 'whole' / 'epoch_1.pth'))
    assert runner.epoch == 2
    for key in ('state_dict', 'ema_state_dict'):
        torch.testing.assert_close(checkpoint[key], expected[key], rtol=0, atol=0)
    cells = [key for key in checkpoint['state_dict'] if '.hoga.' in key]
    assert cells and not any('.module.' in key for key in checkpoint['state_dict'])
    averages, weights = expected['state_dict'], expected['ema_state_dict']  # EMAHook swaps them in a checkpoint
    moved = [key for key in cells if not torch.equal(averages[key], weights[f'module.{key}'])]
    assert {'phi', 'edges', 'output_attention'} <= {key.split('.hoga.')[1].split('.')[0] for key in moved}
    loaded = MODELS.build(runner.cfg.model)
    load_checkpoint(loaded, str(tmp_path / 'whole' / 'epoch_2.pth'), strict=True)
    torch.testing.assert_close(loaded.state_dict(), expected['state_dict'], rtol=0, atol=0)


def test_two_processes_train_the_cells_as_one_does(tmp_path):
    """DistributedDataParallel with ``find_unused_parameters=False``: every trained parameter is used in each step."""
    command = [warm_python(), str(Path(__file__).with_name('two_processes_train_cells.py')), str(tmp_path / 'group')]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen([*command, rank], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        for rank in '01'
    ]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output

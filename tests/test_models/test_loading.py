"""The message about HOGA's weights after a checkpoint was loaded."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import weakref

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner import load_checkpoint
from torch import nn

from mmhoga.backbones import CIFARResNet
from mmhoga.genotype import PRIMITIVES
from mmhoga.models import HOGA, SearchableHOGA
from mmhoga.models.loading import report_loading, stored_operations, watch_loading


class Cell(nn.Module):
    """A watched module with three keys."""

    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width, track_running_stats=False)
        watch_loading(self)

    def forward(self, x):
        return self.norm(self.conv(x))


@pytest.fixture
def log():
    """The messages about HOGA weights, as (level, text)."""
    report_loading()
    records = []

    class Keep(logging.Handler):
        def emit(self, record):
            if 'HOGA weights' in record.getMessage():
                records.append((record.levelname, record.getMessage()))

    logger, handler = MMLogger.get_current_instance(), Keep()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
    report_loading()


def net(genotype='autola', **arguments):
    plugins = [dict(cfg=dict(type='mmhoga.HOGA', genotype=genotype), position='after_conv2')] if genotype else None
    return CIFARResNet(8, base_channels=8, plugins=plugins, **arguments)


def save(tmp_path, model):
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


def keys_of_a_cell(width=8):
    return len([key for key in HOGA(width).state_dict() if 'num_batches_tracked' not in key])


def test_a_checkpoint_without_hoga_warns_at_once(tmp_path, log):
    load_checkpoint(net(), save(tmp_path, net(genotype=None)), strict=False)
    ((level, text),) = log
    assert level == 'WARNING'
    assert f'0 of {3 * keys_of_a_cell()} keys matched; 0 of 3 cells are complete' in text
    assert 'trained without HOGA' in text
    plain = sum('num_batches_tracked' not in key for key in net(genotype=None).state_dict())
    assert f'of the whole backbone, {plain} of {plain + 3 * keys_of_a_cell()} keys matched' in text
    assert 'layer1.0.hoga.' in text
    assert 'frozen_stages' not in text


def test_pretrained_backbones_warn(tmp_path, log):
    pretrained = dict(type='Pretrained', checkpoint=save(tmp_path, net(genotype=None)))
    net(init_cfg=pretrained).init_weights()
    assert [level for level, _ in log] == ['WARNING']


def test_its_own_checkpoint_is_confirmed(tmp_path, log):
    load_checkpoint(net(), save(tmp_path, net()), strict=True)
    ((level, text),) = log
    assert level == 'INFO'
    everything = sum('num_batches_tracked' not in key for key in net().state_dict())
    assert text == (
        f'HOGA weights: all {3 * keys_of_a_cell()} keys of 3 cells matched; of the whole backbone, all {everything} '
        'keys matched.'
    )


@pytest.mark.parametrize(
    ('theirs', 'ours', 'named'),
    [
        ('hog_se', 'autola', '(K = 4, hog_se) than the model has (K = 4, autola)'),
        ('autola', 'autola_release', '(K = 4, autola) than the model has (K = 4, autola_release)'),
        (
            [['cbam'], ['none', 'spatial_3x3_d2']],
            'hog_cbam',
            "(K = 2, [['cbam'], ['none or skip_connect', 'spatial_3x3_d2']]) than the model has (K = 4, hog_cbam)",
        ),
        ('autola', [['se']], "(K = 4, autola) than the model has (K = 1, [['se']])"),
    ],
)
def test_another_genotype_is_named(tmp_path, log, theirs, ours, named):
    load_checkpoint(net(ours), save(tmp_path, net(theirs)), strict=False)
    ((level, text),) = log
    assert level == 'WARNING'
    assert '0 of 3 cells are complete' in text
    assert f'The checkpoint was trained with another genotype {named}.' in text


def test_cells_of_some_stages_only(tmp_path, log):
    source = net().state_dict()
    partial = {key: value for key, value in source.items() if not key.startswith('layer3')}
    net().load_state_dict(partial, strict=False)
    ((level, text),) = log
    assert level == 'WARNING'
    assert f'{2 * keys_of_a_cell()} of {3 * keys_of_a_cell()} keys matched; 2 of 3 cells are complete' in text
    assert 'layer3.0.hoga' in text
    assert 'with HOGA at other places' in text


def test_a_supernets_checkpoint_is_named(log):
    model = nn.Sequential(HOGA(8))
    model.load_state_dict(nn.Sequential(SearchableHOGA(8)).state_dict(), strict=False)
    report_loading()
    assert 'another genotype (the supernet of a search) than the model has (K = 4, autola)' in log[0][1]


@pytest.mark.parametrize('name', PRIMITIVES)
def test_every_primitive_is_recognised_by_its_keys(name):
    """Except for the two pairs with the same keys."""
    twins = [{'none', 'skip_connect'}, {'se', 'se_avgmax'}]
    expected = next((pair for pair in twins if name in pair), {name})
    rows = stored_operations(HOGA(16, genotype=[['cbam'], ['spatial_3x3', name]]).state_dict(prefix='a.'), 'a.')
    assert set(rows[1][1]) == expected


def test_the_message_draws_no_random_numbers(log):
    model, other = net('hog_se'), net('hog_cbam').state_dict()
    before = torch.get_rng_state()
    model.load_state_dict(other, strict=False)
    assert 'another genotype' in log[0][1]
    assert torch.equal(torch.get_rng_state(), before)


def test_another_width_is_not_called_another_genotype(log):
    model = nn.Sequential(HOGA(8))
    with pytest.raises(RuntimeError, match='size mismatch'):
        model.load_state_dict(nn.Sequential(HOGA(16)).state_dict(), strict=False)
    report_loading()
    assert '0 of 1 cells are complete' in log[0][1]
    assert 'have the same genotype, but another width' in log[0][1]


def test_the_supernet_is_watched_too(log):
    model = nn.Sequential(SearchableHOGA(8))
    model.load_state_dict({}, strict=False)
    report_loading()
    assert log[0][0] == 'WARNING'
    assert '0 of 1 cells are complete' in log[0][1]


def test_frozen_cells_and_norms_are_named(log):
    plain = net(genotype=None).state_dict()
    net(frozen_stages=1, norm_eval=True).load_state_dict(plain, strict=False)
    net(frozen_stages=1).load_state_dict(plain, strict=False)
    both, frozen = (text for _, text in log)
    assert 'set frozen_stages=-1 and norm_eval=False' in both
    assert 'set frozen_stages=-1, so' in frozen
    assert 'norm_eval' not in frozen


def test_counters_of_old_checkpoints_do_not_count(log):
    model = net()
    old = {key: value for key, value in model.state_dict().items() if 'num_batches_tracked' not in key}
    model.load_state_dict(old, strict=False)
    assert [level for level, _ in log] == ['INFO']


def test_another_shape_does_not_match(tmp_path, log):
    model = nn.Sequential(Cell(4))
    load_checkpoint(model, save(tmp_path, nn.Sequential(Cell(8))), strict=False)
    report_loading()
    assert '0 of 3 keys matched' in log[0][1]


def mmdet_net(plugins=True):
    backbones = pytest.importorskip('mmdet.models.backbones')
    plugin = dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')
    arguments = dict(num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,), base_channels=8)
    return backbones.ResNet(50, plugins=[plugin] if plugins else None, **arguments)


def test_without_an_enclosing_resnet_the_first_forward_pass_reports_once(tmp_path, log):
    model = mmdet_net()
    load_checkpoint(model, save(tmp_path, mmdet_net(plugins=False)), strict=False)
    assert log == []
    for _ in range(2):
        model(torch.rand(2, 3, 32, 32))
        assert len(log) == 1
        assert '0 of 3 cells are complete' in log[0][1]


def test_without_an_enclosing_resnet_the_next_load_reports(tmp_path, log):
    model = mmdet_net()
    load_checkpoint(model, save(tmp_path, mmdet_net(plugins=False)), strict=False)
    load_checkpoint(model, save(tmp_path, model), strict=False)
    assert [level for level, _ in log] == ['WARNING']
    model(torch.rand(2, 3, 32, 32))
    assert [level for level, _ in log] == ['WARNING', 'INFO']


def test_two_loads_of_one_model_are_two_reports(log):
    model = nn.Sequential(Cell(), Cell())
    for _ in range(2):
        model.load_state_dict(model.state_dict())
    report_loading()
    assert log == [('INFO', 'HOGA weights: all 6 keys of 2 cells matched.')] * 2


def test_no_message_without_a_load_or_without_cells(log):
    net()(torch.rand(2, 3, 8, 8))
    model = net(genotype=None)
    model.load_state_dict(model.state_dict())
    report_loading()
    assert log == []


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_report_for_themselves(clone, log):
    model = nn.Sequential(Cell())
    model.load_state_dict({}, strict=False)
    twin = clone(model)  # while a report on the original is pending
    x = torch.rand(2, 4, 3, 3)
    twin(x)
    assert [level for level, _ in log] == ['WARNING']
    model(x)
    assert len(log) == 1

    state = model.state_dict()
    del model
    gc.collect()
    twin.load_state_dict(state)
    twin(x)
    assert log[1:] == [('INFO', 'HOGA weights: all 3 keys of 1 cells matched.')]


def test_copies_of_a_whole_resnet_load(log):
    twin = pickle.loads(pickle.dumps(copy.deepcopy(net())))
    twin.load_state_dict(net(genotype=None).state_dict(), strict=False)
    assert [level for level, _ in log] == ['WARNING']


def test_a_pending_report_keeps_no_model_alive(log):
    model = nn.Sequential(Cell())
    model.load_state_dict({}, strict=False)
    alive = weakref.ref(model[0])
    del model
    gc.collect()
    assert alive() is None
    report_loading()
    assert '0 of 3 keys matched' in log[0][1]


def test_under_distributed_data_parallel(tmp_path, log):
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path / "store"}', rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(nn.Sequential(Cell()))
        load_checkpoint(model, save(tmp_path, nn.Sequential(Cell())), strict=False)
        model(torch.rand(2, 4, 3, 3)).sum().backward()
        model.load_state_dict({}, strict=False)
        model(torch.rand(2, 4, 3, 3)).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert [level for level, _ in log] == ['INFO', 'WARNING']

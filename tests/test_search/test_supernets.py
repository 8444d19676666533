"""Models of trainings as models of searches: key by key, and with the weights of the configs written by hand before."""

import copy

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_state_dict

from mmhoga.genotype import PRIMITIVES, Genotype
from mmhoga.hosts import load_config
from mmhoga.models import HOGA, SearchableHOGA
from mmhoga.registry import MODELS
from mmhoga.search import SearchModel
from mmhoga.search.supernets import has_cells, is_of_kind, with_genotype, with_supernets

ROWS2 = [['se'], ['norm_3x3', 'cbam']]


def plugin(cell, **settings):
    return dict(
        backbone=dict(type='mmhoga.ResNet', depth=18, plugins=[dict(cfg=cell, position='after_conv2')]), **settings
    )


def test_plugins_key_by_key():
    """All settings of the cell stay, and so does all else, other plugins included."""
    kept = dict(summary='inputs', operation_reduction=2, postfix='_a', start='identity')
    cell = dict(type='mmhoga.HOGA', genotype=ROWS2, **kept)
    other = dict(cfg=dict(type='mmhoga.Attention', name='se'), position='after_conv1')
    training = dict(backbone=dict(depth=50, plugins=(dict(cfg=cell, stages=(True, False)), other)), n=[1])
    before = copy.deepcopy(training)
    supernet = dict(type='mmhoga.SearchableHOGA', num_groups=2, **kept)
    assert with_supernets(training) == dict(
        backbone=dict(depth=50, plugins=(dict(cfg=supernet, stages=(True, False)), other)), n=[1]
    )
    assert training == before


def test_an_insertion_key_by_key():
    insertion = dict(
        type='mmhoga.Insert',
        into='CSPNeXt',
        cell=dict(type='mmhoga.HOGA'),
        after=r'stage\d',
        train_only='cells',
        depth=3,
    )
    assert with_supernets(dict(backbone=insertion, head=dict(num_groups=7))) == dict(
        backbone={**insertion, 'cell': dict(type='mmhoga.SearchableHOGA', num_groups=4)}, head=dict(num_groups=7)
    )


@pytest.mark.parametrize('kind', ['mmhoga.HOGA', 'HOGA', HOGA])
def test_names_of_the_cell(kind):
    assert with_supernets([dict(type=kind)]) == [dict(type='mmhoga.SearchableHOGA', num_groups=4)]


@pytest.mark.parametrize('kind', ['mmdet.HOGA', 'mmhoga.Attention', 'HOGA2', torch.nn.ReLU, None, 3])
def test_what_is_no_cell(kind):
    assert with_supernets(dict(type=kind, genotype='autola')) == dict(type=kind, genotype='autola')
    assert not has_cells([dict(type=kind)])
    assert not is_of_kind('HOGA', 'HOGA')


def test_the_space_can_be_given():
    """Then no genotype is read, so that its file may be missing."""
    model = plugin(dict(type='mmhoga.HOGA', genotype='missing.json'))
    found = with_supernets(model, num_groups=8, primitives=('se', 'cbam'))['backbone']['plugins'][0]['cfg']
    assert found == dict(type='mmhoga.SearchableHOGA', num_groups=8, primitives=['se', 'cbam'])
    with pytest.raises(ValueError, match=r'K of a HOGA cell .*missing\.json.* Set num_groups'):
        with_supernets(model)
    with pytest.raises(ValueError, match=r"Unknown genotype 'autolo'.* Set num_groups"):
        with_supernets(dict(type='mmhoga.HOGA', genotype='autolo'))


def test_a_model_with_supernets_keeps_its_cells():
    model = [dict(type='mmhoga.SearchableHOGA', primitives=['se']), dict(type='mmhoga.HOGA', genotype='hog_se')]
    assert with_supernets(model) == model
    assert with_supernets(model, num_groups=2) == [{**model[0], 'num_groups': 2}, model[1]]


def test_the_class_of_mappings_stays():
    """The hosts read settings as attributes."""
    model = with_supernets(ConfigDict(plugin(dict(type='mmhoga.HOGA'), train_cfg=dict(rpn=dict(n=1)))))
    assert type(model) is type(model.train_cfg.rpn) is type(model.backbone.plugins[0].cfg) is ConfigDict


def test_with_genotype():
    model = [dict(type='mmhoga.HOGA', summary='inputs'), dict(type='mmhoga.SearchableHOGA'), 1]
    assert with_genotype(model, Genotype(ROWS2)) == [
        dict(type='mmhoga.HOGA', summary='inputs', genotype=ROWS2),
        dict(type='mmhoga.SearchableHOGA'),
        1,
    ]


# The architectures that configs/_base_/supernets wrote by hand, as changes of a base: base -> training, host, change.
PLUGIN = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmhoga.SearchableHOGA'), position='after_conv2')]))


def insertion(into, after):
    cell = dict(type='mmhoga.SearchableHOGA')
    return dict(backbone=dict(type='mmhoga.Insert', into=into, cell=cell, after=after, start='random'))


BY_HAND = {
    'resnet8_digits': ('digits/hoga-resnet8_1xb96-8e_digits', 'mmpretrain', PLUGIN),
    'faster-rcnn_r18_fpn_shapes': ('demo/hoga-faster-rcnn_r18_fpn_1xb8-10e_shapes', 'mmdet', PLUGIN),
    'rtmdet_shapes': ('demo/hoga-rtmdet_1xb8-10e_shapes', 'mmdet', insertion('CSPNeXt', r'stage\d')),
    'simple-baseline_r18_people': ('demo/hoga-td-hm_r18_1xb16-10e_people', 'mmpose', PLUGIN),
    'hrnet_people': (
        'demo/hoga-td-hm_hrnet_1xb16-10e_people',
        'mmpose',
        insertion('HRNet', r'stage\d\.\d\.branches\.\d\.\d\.bn2'),
    ),
}


@pytest.mark.parametrize('base', BY_HAND)
def test_the_weights_are_those_of_the_config_written_by_hand(root, base):
    """Equal keys, and for equal seeds equal weights and alpha."""
    training, host, change = BY_HAND[base]
    pytest.importorskip(host)
    init_default_scope(host)
    by_hand = Config.fromfile(root / f'configs/_base_/models/{base}.py')
    by_hand.merge_from_dict(dict(model=change))
    torch.manual_seed(0)
    expected = MODELS.build(dict(type='mmhoga.SearchModel', architecture=by_hand.model))
    torch.manual_seed(0)
    cfg = load_config(str(root / f'configs/{training}.py'))
    model = MODELS.build(dict(type='mmhoga.SearchModel', architecture=cfg.model))
    assert model.num_groups == 4 and model.primitives == PRIMITIVES
    state = model.state_dict()
    assert list(state) == list(expected.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in expected.state_dict().items())
    assert model.alpha.abs().sum() > 0


@pytest.fixture
def training(root):
    init_default_scope('mmpretrain')
    return load_config(str(root / 'configs/digits/hoga-resnet8_1xb96-8e_digits.py')).model


def test_the_space_of_a_search_model(training):
    config = dict(type='mmhoga.SearchModel', architecture=training)
    model = MODELS.build({**config, 'num_groups': 2, 'primitives': ['se', 'cbam'], 'alpha_per': 'stage'})
    assert {cell.num_groups for cell in model.cells()} == {2} and model.primitives == ('se', 'cbam')
    assert list(model.named_alphas()) == ['layer1', 'layer2', 'layer3']
    with pytest.raises(ValueError, match='for an architecture that is a config, not a model'):
        SearchModel(model.architecture, num_groups=2)


def test_weights_of_a_training_load(training):
    """``load_from`` of a training: its keys go below ``architecture``. Those of the edges are a genotype's."""
    trained = MODELS.build(training)
    model = SearchModel(training)
    load_state_dict(model, trained.state_dict(), strict=False)
    state, loaded = trained.state_dict(), model.state_dict()
    outside = [key for key in state if '.edges.' not in key]
    assert len(outside) == 104
    assert all(torch.equal(state[key], loaded[f'architecture.{key}']) for key in outside)


def test_weights_of_a_search_load_as_before(training):
    source, model = SearchModel(training), SearchModel(training)
    model.load_state_dict(source.state_dict())
    assert torch.equal(source.alpha, model.alpha)
    state = model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in source.state_dict().items())
    assert all(isinstance(cell, SearchableHOGA) for cell in model.cells())

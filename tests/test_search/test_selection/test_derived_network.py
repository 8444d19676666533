"""The derived network computes what a one-hot supernet computes, and fits the network of the training config."""

import pytest
import torch
from cells import random_genotype, randomize
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

from mmhoga.genotype import PRIMITIVES, Genotype, edge_list
from mmhoga.models import HOGA, SearchableHOGA
from mmhoga.registry import MODELS
from mmhoga.search import SearchModel
from mmhoga.search.derived import insertion_file, plugins_file
from mmhoga.search.selection import derived_architecture

# The model without cells in configs/_base_/models: the config of a training with cells, settings of the backbone, and
# the size of the images.
NETWORKS = {
    'resnet8_digits': ('digits/hoga-resnet8_1xb96-8e_digits', dict(), 8),
    'resnet20_cifar10': ('cifar10/hoga-resnet20_1xb256-500e_cifar10', dict(), 16),
    'simple-baseline_r18_people': ('demo/hoga-td-hm_r18_1xb16-10e_people', dict(), 32),
    'faster-rcnn_r18_fpn_shapes': ('demo/hoga-faster-rcnn_r18_fpn_1xb8-10e_shapes', dict(), 32),
    'rtmdet_shapes': ('demo/hoga-rtmdet_1xb8-10e_shapes', dict(start='identity'), 32),
    'hrnet_people': ('demo/hoga-td-hm_hrnet_1xb16-10e_people', dict(), 32),
}


def set_alpha(model: SearchModel, genotypes) -> None:
    """The mix becomes one-hot."""
    for stage, alpha in model.named_alphas().items():
        alpha.data.fill_(-1e9)
        genotype = genotypes[stage]
        for row, edge in enumerate(edge_list(genotype.num_groups)):
            alpha.data[row, model.primitives.index(genotype.operation(*edge))] = 0


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('alpha_per', ['model', 'stage'])
def test_it_computes_what_the_one_hot_supernet_computes(toy, alpha_per, training):
    torch.manual_seed(0)
    model = randomize(SearchModel(toy(), alpha_per=alpha_per, stage_pattern=r'cells\.\d')).double().train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    genotypes = {stage: random_genotype(2, seed) for seed, stage in enumerate(model.named_alphas(), start=3)}
    random_state = torch.get_rng_state()
    network = derived_architecture(model, genotypes)
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [cell.genotype for cell in network.cells] == [*genotypes.values()] * (2 // len(genotypes))
    assert not any(isinstance(module, SearchableHOGA) for module in network.modules())
    assert len(model.cells()) == 2

    set_alpha(model, genotypes)
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(network(x), model(x), rtol=1e-10, atol=1e-10)
    set_alpha(model, {stage: random_genotype(2, 9) for stage in genotypes})
    assert not torch.allclose(network(x), model(x), rtol=1e-5), 'the comparison sees another genotype'


@pytest.mark.parametrize('alpha_per', ['model', 'stage'])
@pytest.mark.parametrize('name', NETWORKS)
def test_its_weights_load_strictly_into_the_training_config(root, tmp_path, name, alpha_per):
    training, settings, size = NETWORKS[name]
    config = Config.fromfile(root / f'configs/{training}.py')
    scope, config = config.default_scope, config.model
    config.backbone.update(settings)
    search = ConfigDict(type='mmhoga.SearchModel', architecture=config, alpha_per=alpha_per)
    with DefaultScope.overwrite_default_scope(scope):
        model = randomize(MODELS.build(search)).double().eval()
        genotypes = {stage: random_genotype(4, seed) for seed, stage in enumerate(model.named_alphas())}
        genotypes = {stage: without_none(genotype) for stage, genotype in genotypes.items()}
        network = derived_architecture(model, genotypes)

        plugins, insertion = plugins_file(search, genotypes, None), insertion_file(search, genotypes, model, None)
        file, key = ('plugins', 'plugins={{_base_.plugins}}') if plugins else ('insertion', '')
        (tmp_path / f'{file}.py').write_text(plugins or insertion, encoding='utf-8')
        backbone = f'dict({key})' if key else '{{_base_.insertion}}'
        bases = [str(root / f'configs/_base_/models/{name}.py'), str(tmp_path / f'{file}.py')]
        (tmp_path / 'train.py').write_text(f'_base_ = {bases}\nmodel = dict(backbone={backbone})', encoding='utf-8')
        trained = MODELS.build(Config.fromfile(tmp_path / 'train.py').model).double().eval()
    trained.load_state_dict(network.state_dict(), strict=True)
    kept = [m.genotype for m in trained.modules() if isinstance(m, HOGA)]
    assert kept == [m.genotype for m in network.modules() if isinstance(m, HOGA)] and len(kept) > 2

    x = torch.rand(1, config.backbone.get('in_channels', 3), size, size, dtype=torch.float64)
    outputs = trained.backbone(x)
    for actual, expected in zip(network.backbone(x), outputs):
        torch.testing.assert_close(actual, expected)
    set_alpha(model, genotypes)
    for actual, expected in zip(model.architecture.backbone(x), outputs):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


def without_none(genotype):
    return Genotype([['skip_connect' if name == 'none' else name for name in row] for row in genotype.edges])


def test_inserted_cells_record_the_derived_config(root):
    """save_adapter writes it."""
    config = Config.fromfile(root / 'configs/demo/hoga-rtmdet_1xb8-10e_shapes.py').model.to_dict()
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(dict(type='mmhoga.SearchModel', architecture=config))
    network = derived_architecture(model, {'': Genotype.from_config('autola')})
    inserted = network.backbone.stage1
    assert inserted.cell_config['type'] == 'mmhoga.HOGA' and 'primitives' not in inserted.cell_config
    assert Genotype(inserted.cell_config['genotype']) == Genotype.from_config('autola')
    assert model.architecture.backbone.stage1.cell_config['type'] is not inserted.cell_config['type']


def test_genotypes_that_do_not_fit(toy):
    model = SearchModel(toy())
    with pytest.raises(ValueError, match=r"for each of the stages \[''\].*genotypes for \['layer1'\]"):
        derived_architecture(model, {'layer1': random_genotype(2, 0)})
    with pytest.raises(ValueError, match='K = 4, but this supernet has K = 2'):
        derived_architecture(model, {'': random_genotype(4, 0)})
    assert model.primitives == PRIMITIVES

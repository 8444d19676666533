"""The choice of the blocks that get an attention: its mathematics, its cost, and the configs that it leaves."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner

from mmhoga.backbones import CIFARResNet
from mmhoga.genotype import Genotype, num_edges, uniform
from mmhoga.models import HOGA, SearchableHOGA
from mmhoga.models.cell_choice import CellChoice
from mmhoga.models.complexity import count
from mmhoga.search import SearchError, SearchModel, SearchOptimWrapperConstructor
from mmhoga.search.costs import ExpectedCost, cell_complexity, operation_complexity
from mmhoga.search.derived import derived_model, insertion_file, plugins_file
from mmhoga.search.derived_plugins import derived_plugins
from mmhoga.search.latency import write_latencies
from mmhoga.search.placement import Placement, cell_probabilities, record
from mmhoga.search.records.history import read_history
from mmhoga.search.selection import GenotypeScorer, derived_architecture
from mmhoga.search.selection.perturbation import PerturbationSelection

PRIMITIVES = ('none', 'skip_connect', 'se')
SHAPE = (8, 6, 5)
PLUGIN = dict(cfg=dict(type='mmhoga.SearchableHOGA', num_groups=2, primitives=PRIMITIVES), position='after_conv2')
RESNET = dict(type='mmhoga.CIFARResNet', depth=14, in_channels=1, base_channels=4)
INSERT = dict(
    type='mmhoga.Insert', into='mmhoga.CIFARResNet', cell=PLUGIN['cfg'], after=r'layer\d\.\d\.bn2', start='random',
    **{key: RESNET[key] for key in ('depth', 'in_channels', 'base_channels')},
)  # fmt: skip
BATCH = {'inputs': torch.linspace(-1, 1, 4 * 64).view(4, 1, 8, 8), 'gt_label': torch.arange(4)}


def choice_of(*num_groups, seed=0):
    torch.manual_seed(seed)
    return CellChoice([SearchableHOGA(8, num_groups=k, primitives=PRIMITIVES) for k in num_groups])


def searched(backbone=None, betas=None, **settings):
    """A search model of a small ResNet; ``betas`` are those of its blocks, in their order."""
    torch.manual_seed(0)
    settings.setdefault('placement', {})
    model = SearchModel(dict(type='ToyResNet', backbone=backbone or {**RESNET, 'plugins': [PLUGIN]}), **settings).eval()
    with torch.no_grad():
        for choice, beta in zip(model.named_choices().values(), betas or ()):
            choice.beta.copy_(torch.tensor(beta))
    return model


KEEP, LEAVE = (-30.0, 30.0), (30.0, -30.0)


def test_the_output_is_the_mean_over_the_choices():
    choice, x = choice_of(2, 4).eval(), torch.randn(2, *SHAPE)
    assert torch.equal(choice.beta, torch.zeros(3))
    with torch.no_grad():
        choice.beta.copy_(torch.tensor([0.2, -0.4, 0.9]))
        p = [value / sum(torch.tensor([0.2, -0.4, 0.9]).exp()) for value in torch.tensor([0.2, -0.4, 0.9]).exp()]
        torch.testing.assert_close(choice(x), p[0] * x + p[1] * choice[2](x) + p[2] * choice[4](x))


def test_the_gradient_of_beta_is_that_of_finite_differences():
    choice, x = choice_of(2, 4).double().eval(), torch.randn(2, *SHAPE, dtype=torch.float64)

    def out(beta):
        return torch.func.functional_call(choice, {'beta': beta}, x)

    beta = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(out, beta)
    assert torch.autograd.grad(out(beta).square().sum(), beta)[0].abs().min() > 1e-3


@pytest.mark.usefixtures('toy_resnet')
class TestOneHot:
    @pytest.mark.parametrize('backbone', [None, INSERT], ids=['plugins', 'insert'])
    def test_no_attention_anywhere_is_the_plain_network(self, backbone):
        model = searched(backbone, [LEAVE] * 6)
        plain = MODELS.build(dict(type='ToyResNet', backbone=RESNET)).eval()
        weights = {k: v for k, v in model.architecture.state_dict().items() if '.hoga.' not in k}
        plain.load_state_dict(weights)
        assert torch.equal(model(BATCH['inputs']), plain(BATCH['inputs']))

    def test_attention_everywhere_is_the_network_without_choices(self):
        model = searched(betas=[KEEP] * 6)
        whole = searched(placement=None)
        weights = {k.replace('hoga.k2.', 'hoga.'): v for k, v in model.state_dict().items() if not k.endswith('beta')}
        whole.load_state_dict(weights)
        torch.testing.assert_close(model(BATCH['inputs']), whole(BATCH['inputs']))

    @pytest.mark.parametrize('backbone', [None, INSERT], ids=['plugins', 'insert'])
    def test_the_derived_network_is_the_supernet_with_one_hot_beta_and_alpha(self, backbone, tmp_path):
        """Its config is built, takes the weights by their names, and computes the same."""
        model = searched(backbone, [KEEP, LEAVE, LEAVE, LEAVE, LEAVE, KEEP])
        with torch.no_grad():
            model.alpha.copy_(60 * torch.eye(3)[[1, 2, 1]])
        genotype, kept = model.genotype(), model.kept()
        assert genotype == Genotype([['skip_connect'], ['se', 'skip_connect']])
        assert [block.split('backbone.')[1][:8] for block, k in kept.items() if k] == ['layer1.0', 'layer3.1']
        expected = model(BATCH['inputs'])
        trained = build_trained(model, backbone, {'': genotype}, tmp_path)
        assert sum(isinstance(module, HOGA) for module in trained.modules()) == 2

        derived = derived_architecture(model, {'': genotype})
        torch.testing.assert_close(derived(BATCH['inputs']), expected)
        trained.load_state_dict(derived.state_dict())  # strict: the same keys
        assert torch.equal(trained(BATCH['inputs']), derived(BATCH['inputs']))

    def test_the_score_of_a_genotype_is_that_of_the_network_with_the_cells_that_are_kept(self):
        model = searched(betas=[KEEP, LEAVE, LEAVE, LEAVE, LEAVE, KEEP])

        def operations(network):
            cells = [module for module in network.modules() if isinstance(module, HOGA)]
            return {'cells': len(cells), 'se': sum(str(cell.genotype).count('se') for cell in cells)}

        score = GenotypeScorer(model, [], operations)
        assert score({'': uniform('se', 2)}) == {'cells': 2, 'se': 6}
        assert score({'': uniform('skip_connect', 2)}) == {'cells': 2, 'se': 0}


def build_trained(model, backbone, genotypes, tmp_path):
    """The network of the derived config, as a user builds it."""
    config = dict(architecture=dict(backbone=backbone or {**RESNET, 'plugins': [PLUGIN]}))
    path = tmp_path / 'derived.py'
    if backbone:
        path.write_text(insertion_file(config, genotypes, model, None))
        network = {**RESNET, **Config.fromfile(path).insertion}
    else:
        path.write_text(plugins_file(config, genotypes, None, model.blocks()))
        network = {**RESNET, **Config.fromfile(path)}
    return MODELS.build(dict(type='ToyResNet', backbone=network)).eval()


class TestCost:
    CELLS = {'a.k1': (1, (8, 6, 5)), 'a.k2': (2, (8, 6, 5)), 'b.k1': (1, (4, 3, 3)), 'b.k2': (2, (4, 3, 3))}
    GROUPS = {'k1': ['a.k1', 'b.k1'], 'k2': ['a.k2', 'b.k2']}
    BLOCKS = [['a.k1', 'a.k2'], ['b.k1', 'b.k2']]

    def term(self, metric='macs', weight=1.0, table=None):
        cells = {n: SearchableHOGA(s[0], num_groups=k, primitives=PRIMITIVES) for n, (k, s) in self.CELLS.items()}
        shapes = {name: shape for name, (_, shape) in self.CELLS.items()}
        return ExpectedCost(
            cells, shapes, self.GROUPS, metric=metric, weight=weight, table=table, blocks=self.BLOCKS
        ).double()

    def derived_cost(self, name, operations, metric):
        """Of a whole derived cell, counted as a module."""
        k, shape = self.CELLS[name]
        edges = iter(operations)
        cell = HOGA(shape[0], genotype=[[next(edges) for _ in range(row + 1)] for row in range(k)])
        return getattr(count(cell, shape), metric)

    @pytest.mark.parametrize('metric', ['macs', 'params'])
    def test_the_expectation_is_the_sum_over_all_networks_of_probability_times_cost(self, metric):
        torch.manual_seed(0)
        alphas = {'k1': torch.randn(1, 3).double(), 'k2': torch.randn(3, 3).double()}
        betas = torch.randn(2, 3).double().softmax(1)
        kept = {name: betas[b, 1 + i] for b, block in enumerate(self.BLOCKS) for i, name in enumerate(block)}
        p = {name: alpha[:, 1:].softmax(1) for name, alpha in alphas.items()}  # without none
        cost, expected, largest = {}, 0.0, 0.0
        for name, (k, _) in self.CELLS.items():
            for picks in itertools.product((0, 1), repeat=num_edges(k)):
                cost[name, picks] = self.derived_cost(name, [PRIMITIVES[1 + i] for i in picks], metric)
        everything = [itertools.product((0, 1), repeat=num_edges(k)) for k in (1, 2)]
        for one, two in itertools.product(*everything):  # the genotypes of K = 1 and K = 2
            probability = p['k1'][0, one[0]] * torch.stack([p['k2'][e, i] for e, i in enumerate(two)]).prod()
            for a, b in itertools.product(range(3), repeat=2):  # the choices of the two blocks
                choices = [self.BLOCKS[block][pick - 1] for block, pick in enumerate((a, b)) if pick]
                total = sum(cost[name, one if name.endswith('k1') else two] for name in choices)
                expected += probability * betas[0, a] * betas[1, b] * total
                largest = max(largest, total)
        torch.testing.assert_close(self.term(metric, 2.0)(alphas, kept), 2 * expected / largest)

    def test_it_lies_between_0_and_its_weight_and_falls_when_blocks_are_left_out(self):
        alphas = {'k1': torch.zeros(1, 3).double(), 'k2': torch.zeros(3, 3).double()}
        alphas = {name: alpha + 60 * torch.tensor([0.0, 0, 1]) for name, alpha in alphas.items()}  # se everywhere
        one, zero = torch.tensor(1.0).double(), torch.tensor(0.0).double()
        kept = [dict.fromkeys(self.CELLS, zero)]
        for name in ('b.k2', 'a.k2'):
            kept.append({**kept[-1], name: one})
        kept.append({**kept[0], 'a.k1': one, 'b.k1': one})  # cells of K = 1 are larger, because phi is
        nothing, b, both, largest = (self.term()(alphas, each).item() for each in kept)
        assert nothing == 0 < b < both < 1 and largest == pytest.approx(1)

    def test_latencies_of_whole_cells_come_from_the_table(self, tmp_path):
        path, table = str(tmp_path / 'latency.json'), {}
        for k, (channels, *size) in self.CELLS.values():
            table[(f'cell_k{k}', channels, *size)] = 10.0 * k
            table[('se', channels // k, *size)] = 1.0
        write_latencies(path, table, {})
        alphas = {'k1': torch.zeros(1, 3).double(), 'k2': torch.zeros(3, 3).double()}
        kept = dict.fromkeys(self.CELLS, torch.tensor(0.25).double())
        expected = 2 * 0.25 * (10 + 0.5 + 20 + 3 * 0.5) / (2 * (20 + 3))
        assert self.term('latency', table=path)(alphas, kept).item() == pytest.approx(expected)
        del table['cell_k2', 4, 3, 3]
        write_latencies(path, table, {})
        with pytest.raises(ValueError, match=r"no entry for 'cell_k2' on 4 channels of 3 x 3.*mmhoga latency"):
            self.term('latency', table=path)


@pytest.mark.usefixtures('toy_resnet')
class TestSearchModel:
    def test_beta_is_an_architecture_parameter(self):
        model = searched()
        betas = [choice.beta for choice in model.named_choices().values()]
        assert len(betas) == 6 and len(model.alphas) == 7 and not any(p.requires_grad for p in model.alphas)
        with model.differentiating_alpha() as parameters:
            assert all(p.requires_grad for p in parameters)
            loss, _ = model.alpha_loss(BATCH)
            assert all(g.abs().max() > 0 for g in torch.autograd.grad(loss, parameters))
        with model.frozen_weights():
            assert not any(p.requires_grad for p in model.parameters())
        weights = SearchOptimWrapperConstructor(
            dict(weights=dict(optimizer=dict(type='SGD', lr=1)), alpha=dict(optimizer=dict(type='Adam', lr=1)))
        )(model)
        groups = {name: [p for g in weights[name].param_groups for p in g['params']] for name in ('weights', 'alpha')}
        assert [id(p) for p in groups['alpha']] == [id(p) for p in model.alphas]
        assert not {id(p) for p in groups['weights']} & {id(p) for p in model.alphas}
        assert {f'architecture.{name}.beta' for name in model.named_choices()} <= model.state_dict().keys()

    def test_the_cost_term_moves_beta(self):
        model = searched(cost=dict(metric='macs', weight=1.0, input_shape=(1, 8, 8)))
        with model.differentiating_alpha():
            cost = model.cost(model.named_alphas(), cell_probabilities(model.named_choices()))
            gradients = torch.autograd.grad(cost, [choice.beta for choice in model.named_choices().values()])
        assert all(g[0] < 0 < g[1] for g in gradients), 'descent raises no attention, and lowers the cell'

    def test_one_alpha_per_k(self):
        model = searched(placement=dict(num_groups=(4, 2)))
        assert list(model.named_alphas()) == ['k2', 'k4'] and len(model.cells()) == 12
        assert {name: tuple(alpha.shape) for name, alpha in model.named_alphas().items()} == {
            'k2': (3, 3),
            'k4': (10, 3),
        }
        assert len({id(cell.alpha) for cell in model.named_cells('k4').values()}) == 1
        assert {cell.num_groups for cell in model.named_cells('k4').values()} == {4}
        stages = searched(placement=dict(num_groups=(2, 4)), alpha_per='stage')
        assert list(stages.named_alphas()) == [f'layer{i}_k{k}' for i in (1, 2, 3) for k in (2, 4)]

    @pytest.mark.parametrize(
        ('placement', 'message'),
        [
            (
                dict(num_groups=(2, 3)),
                r'num_groups=\(2, 3\), at backbone\.layer1\.0\.hoga: .*does not divide',
            ),
            (dict(num_groups=()), r'a list of different K'),
            (dict(num_groups=(2, 2)), r'a list of different K, such as \(2, 4\), not \(2, 2\)'),
            (dict(num_groups=4), r'a list of different K'),
            (dict(keep=0), r'placement\.keep is a number of blocks of at least 1'),
            (dict(keep=7), r'placement\.keep is 7, but the model has 6 blocks'),
        ],
    )
    def test_bad_placements(self, placement, message):
        with pytest.raises(ValueError, match=message):
            searched(placement=placement)

    def test_other_primitives(self):
        plugins = [{**PLUGIN, 'stages': (True, False, False)}, {**PLUGIN, 'stages': (False, True, True)}]
        plugins[1]['cfg'] = {**PLUGIN['cfg'], 'primitives': ['se', 'cbam']}
        with pytest.raises(ValueError, match='the same primitives'):
            searched({**RESNET, 'plugins': plugins})

    def test_perturbation_selects_a_genotype_of_each_k(self):
        selection = PerturbationSelection(searched(placement=dict(num_groups=(2, 4))), lambda network: {'loss': 1.0})
        genotypes = selection.run()
        assert {stage: genotype.num_groups for stage, genotype in genotypes.items()} == {'k2': 2, 'k4': 4}
        edges = [(record['stage'], record['edge']) for record in selection.removals]
        assert len(edges) == 13 == len(set(edges)) and ('k4', 'o_3_3') in edges


class TestKept:
    def kept(self, *betas, **settings):
        choices = {}
        for i, beta in enumerate(betas):
            choices[str(i)] = choice_of(2, 4) if len(beta) == 3 else choice_of(4)
            choices[str(i)].beta.data = torch.tensor(beta)
        return list(Placement(**settings).kept(choices).values())

    def test_the_likeliest_choice(self):
        assert self.kept((0.0, 1.0, 2.0), (2.0, 1.0, 1.5), (0.0, 2.0, 1.0)) == [4, 0, 2]

    def test_ties_keep_an_attention_and_the_first_k(self):
        assert self.kept((1.0, 0.0, 1.0), (0.0, 0.0, 0.0), (0.5, 0.5)) == [4, 2, 4]

    def test_keep_takes_the_blocks_with_the_largest_probability_of_an_attention(self):
        """Two K of 0.9 each are more likely than none of 1, although none is the most likely choice."""
        betas = ((1.0, 0.9, 0.8), (5.0, 0.0, 4.0), (0.0, -1.0, -2.0), (5.0, 0.0, 4.0))
        assert self.kept(*betas) == [0, 0, 0, 0]
        assert self.kept(*betas, keep=1) == [2, 0, 0, 0]
        assert self.kept(*betas, keep=2) == [2, 0, 2, 0]
        assert self.kept(*betas, keep=3) == [2, 4, 2, 0], 'of equal blocks the first'

    def test_a_search_that_diverged(self):
        with pytest.raises(ValueError, match='beta has values that are not finite'):
            self.kept((float('nan'), 0.0))


class TestDerivedPlugins:
    """Six blocks, two per stage."""

    def plugins(self, kept, stages=None, genotypes=None):
        names = [f'backbone.layer{i}.{j}.hoga' for i in (1, 2, 3) for j in (0, 1)]
        blocks = {'': dict(zip(names, kept))} if genotypes is None else kept
        plugin = {**PLUGIN, **({'stages': stages} if stages else {})}
        return derived_plugins([plugin], genotypes or {'': uniform('se', 2)}, blocks)

    def test_all_blocks_keep_the_entry(self):
        assert self.plugins([True] * 6) == derived_plugins([PLUGIN], {'': uniform('se', 2)})

    def test_whole_stages_need_no_blocks(self):
        """So the plugins work in mmdet's ResNet, too."""
        (plugin,) = self.plugins([True, True, False, False, True, True])
        assert plugin['stages'] == (True, False, True) and 'blocks' not in plugin['cfg']

    def test_single_blocks_are_named(self):
        (plugin,) = self.plugins([False, True, False, False, True, True])
        assert plugin['cfg']['blocks'] == ['layer1.1', 'layer3.0', 'layer3.1'] and 'stages' not in plugin
        backbone = CIFARResNet(14, in_channels=1, base_channels=4, plugins=[plugin])
        cells = [name for name, module in backbone.named_modules() if isinstance(module, HOGA)]
        assert cells == ['layer1.1.hoga', 'layer3.0.hoga', 'layer3.1.hoga']

    def test_a_plugin_that_named_blocks_before_the_search(self):
        plugin = {**PLUGIN, 'cfg': {**PLUGIN['cfg'], 'blocks': ['layer1.0', 'layer2.1']}}
        names = {'backbone.layer1.0.hoga': True, 'backbone.layer2.1.hoga': False}
        (derived,) = derived_plugins([plugin], {'': uniform('se', 2)}, {'': names})
        assert derived['cfg']['blocks'] == ['layer1.0'] and 'stages' not in derived

    def test_no_block_leaves_no_plugin(self):
        other = dict(cfg=dict(type='ContextBlock', ratio=0.25), position='after_conv2')
        names = {f'backbone.layer{i}.{j}.hoga': False for i in (1, 2, 3) for j in (0, 1)}
        assert derived_plugins([other, PLUGIN], {'': uniform('se', 2)}, {'': names}) == [other]

    def test_each_k_and_each_stage_is_a_plugin_of_its_own(self):
        names = [f'backbone.layer{i}.{j}.hoga' for i in (1, 2, 3) for j in (0, 1)]
        genotypes = {'k2': uniform('se', 2), 'k4': uniform('se', 4)}
        two, four = [True, False, False, False, True, True], [False, True, False, True, False, False]
        plugins = self.plugins({'k2': dict(zip(names, two)), 'k4': dict(zip(names, four))}, genotypes=genotypes)
        assert [plugin['cfg']['blocks'] for plugin in plugins] == [
            ['layer1.0', 'layer3.0', 'layer3.1'],
            ['layer1.1', 'layer2.1'],
        ]
        backbone = CIFARResNet(14, in_channels=1, base_channels=4, plugins=plugins)
        cells = {name[:8]: module.num_groups for name, module in backbone.named_modules() if isinstance(module, HOGA)}
        assert cells == {'layer1.0': 2, 'layer1.1': 4, 'layer2.1': 4, 'layer3.0': 2, 'layer3.1': 2}

    def test_the_model_of_a_training_with_them(self, tmp_path):
        """mmdet's ResNet does not know blocks, and mmhoga's has the same arguments and keys."""
        trained = dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')
        model = dict(type='FasterRCNN', backbone=dict(type='ResNet', depth=50, plugins=[trained]))
        for blocks, kind in ((dict(blocks=['layer1.0']), 'mmhoga.ResNet'), ({}, 'ResNet')):
            plugins = [dict(cfg=dict(type='mmhoga.HOGA', genotype='hog_se', **blocks), position='after_conv2')]
            (tmp_path / 'plugins.py').write_text(f'plugins = {plugins}')
            derived = derived_model(model, tmp_path)
            assert derived['backbone'] == dict(type=kind, depth=50, plugins=plugins)

    def test_a_placement_without_a_config(self, tmp_path):
        uniform('se', 2).save(tmp_path / 'genotype.json')
        model = dict(neck=dict(type='mmhoga.HOGA', genotype='autola'))
        assert derived_model(model, tmp_path)['neck']['genotype'] == [['se'], ['se', 'se']]
        Genotype(uniform('se', 2).edges, {'placement': {}}).save(tmp_path / 'genotype.json')
        with pytest.raises(SearchError, match='no config with its placement was written'):
            derived_model(model, tmp_path)

    def test_another_resnet_refuses_blocks(self):
        """mmdet's ResNet would otherwise put the attention into every block."""
        with pytest.raises(TypeError, match="unexpected keyword argument 'blocks'"):
            MODELS.build(dict(type='mmhoga.HOGA', in_channels=8, genotype='autola', blocks=['layer1.0']))


def test_the_record_counts_whole_cells_that_are_kept():
    choices = {'a': choice_of(2, 4), 'b': choice_of(2, 4)}
    cells, shapes = {f'{block}.k2': choice[2] for block, choice in choices.items()}, {'a.k2': SHAPE, 'b.k2': SHAPE}
    values = record(choices, {'a': 2, 'b': 0}, cells, shapes, uniform('se', 2))
    whole = count(HOGA(8, genotype=uniform('se', 2)), SHAPE)
    assert (values['cells'], values['params'], values['macs']) == (1, whole.params, whole.macs)
    edges = operation_complexity('se', 4, 6, 5, 4)
    assert values['macs'] == cell_complexity(choices['a'][2], SHAPE).macs + 3 * edges.macs
    assert values['blocks']['b'] == {'num_groups': [0, 2, 4], 'beta': [0, 0, 0], 'kept': 0}


def toy_config(search_config, name, **settings):
    search_config.experiment_name = f'placement {name}'
    backbone = dict(type='ToyResNet', backbone={**RESNET, 'depth': 8, 'plugins': [PLUGIN]})
    search_config.model = dict(type='mmhoga.SearchModel', architecture=backbone, placement={}, **settings)
    search_config.train_cfg.max_epochs = 1
    return search_config


@pytest.mark.usefixtures('toy_resnet')
class TestSearch:
    @pytest.mark.parametrize('num_groups', [None, (2, 4)], ids=str)
    def test_its_records_its_plugins_and_its_weights(self, search_config, num_groups):
        cost = dict(metric='macs', weight=0.1, input_shape=(1, 8, 8))
        config = toy_config(search_config, f'records {num_groups}', cost=cost)
        config.model.placement = dict(num_groups=num_groups)
        runner = Runner.from_cfg(config)
        model, work_dir = runner.model, Path(runner.work_dir)
        names = list(model.named_choices())
        model.named_choices()[names[1]].beta.data[0] = 9.0
        runner.train()
        assert names == [f'backbone.layer{i}.0.hoga' for i in (1, 2, 3)] and model.kept()[names[1]] == 0
        for stage, k in (('k2', 2), ('k4', 4)) if num_groups else (('', 2),):
            (entry,) = json.loads((work_dir / stage / 'search_history.json').read_text())['epochs']
            blocks = entry['placement']['blocks']
            for name, choice in model.named_choices().items():
                assert blocks[name]['beta'] == choice.beta.double().tolist() != [0] * len(choice.beta)
                assert blocks[name]['kept'] == model.kept()[name]
            genotype = Genotype.load(work_dir / stage / 'genotype.json')
            assert genotype.num_groups == k and genotype.meta['placement'] == entry['placement']
            history = read_history(work_dir / stage / 'search_history.json')
            assert history.further[0]['placement/macs'] == entry['placement']['macs']
            kept = list(model.kept().values()).count(k)
            assert f'attention in {kept} of 3 blocks' in next(Path(runner.log_dir).glob('*.log')).read_text()
        plugins = Config.fromfile(work_dir / 'plugins.py').plugins
        trained = MODELS.build(dict(type='ToyResNet', backbone={**RESNET, 'depth': 8, 'plugins': plugins}))
        cells = {name: module.num_groups for name, module in trained.named_modules() if isinstance(module, HOGA)}
        assert cells == {name: k for name, k in model.kept().items() if k}
        trained.load_state_dict(torch.load(work_dir / 'derived.pth')['state_dict'])  # strict

    def test_a_search_that_leaves_every_block_out_says_so(self, search_config):
        runner = Runner.from_cfg(toy_config(search_config, 'nothing'))
        for choice in runner.model.named_choices().values():
            choice.beta.data = torch.tensor(LEAVE)
        runner.train()
        work_dir = Path(runner.work_dir)
        log = next(Path(runner.log_dir).glob('*.log')).read_text()
        assert 'attention in 0 of 3 blocks' in log and 'WARNING - Placement: no block keeps an attention' in log
        assert Config.fromfile(work_dir / 'plugins.py').plugins == []
        assert Genotype.load(work_dir / 'genotype.json').num_groups == 2

    def test_every_cell_is_compiled(self, search_config):
        search_config.compile = dict(backend='eager')
        runner = Runner.from_cfg(toy_config(search_config, 'compiled'))
        runner.build_train_loop(runner._train_loop)
        assert all(cell._compiled is not None for cell in runner.model.cells()) and len(runner.model.cells()) == 3

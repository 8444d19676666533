"""One alpha per stage: shared within the stage, recorded per stage, and derived as one plugin per stage."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmhoga.backbones import CIFARResNet
from mmhoga.genotype import Genotype, uniform
from mmhoga.models import HOGA, SearchableHOGA
from mmhoga.search import SearchModel
from mmhoga.search.derived import plugins_file
from mmhoga.search.derived_plugins import derived_plugins

SUPERNET = dict(cfg=dict(type='mmhoga.SearchableHOGA', num_groups=2, primitives=['se', 'skip_connect']), position='x')


def config_of_stages(search_config):
    search_config.model = dict(
        type='mmhoga.SearchModel',
        alpha_per='stage',
        architecture=dict(
            type='ToyResNet',
            backbone=dict(
                type='mmhoga.CIFARResNet',
                depth=8,
                in_channels=1,
                base_channels=4,
                plugins=[
                    dict(
                        cfg=dict(type='mmhoga.SearchableHOGA', num_groups=2, summary='inputs'),
                        position='after_conv2',
                        stages=(True, False, True),
                    )
                ],
            ),
        ),
    )
    search_config.train_cfg.max_epochs = 1
    return search_config


def test_each_stage_has_its_own(toy):
    model = toy()
    model.layer1, model.layer2 = torch.nn.Sequential(*model.cells, SearchableHOGA(8, num_groups=2)), model.cells[:1]
    model.cells = torch.nn.Identity()
    model.layer2 = torch.nn.Sequential(SearchableHOGA(8, num_groups=2))
    model = SearchModel(model, alpha_per='stage')
    first, second = model.alphas
    assert list(model.named_alphas()) == ['layer1', 'layer2'] and first is not second
    assert [cell.alpha is first for cell in model.cells()] == [True, True, True, False]
    assert [cell.alpha is second for cell in model.cells()] == [False, False, False, True]
    assert not hasattr(model, 'alpha')
    second.data[:, 6] = 9.0
    assert model.genotype(stage='layer2') == uniform('se', 2) != model.genotype(stage='layer1')


def test_a_cell_in_no_stage(toy):
    with pytest.raises(ValueError, match=r"cell 'cells\.0' is in no stage.*Set stage_pattern"):
        SearchModel(toy(), alpha_per='stage')
    assert len(SearchModel(toy(), alpha_per='stage', stage_pattern=r'cells\.\d').alphas) == 2
    with pytest.raises(ValueError, match='alpha_per must be one of'):
        SearchModel(toy(), alpha_per='block')


def test_a_search_by_stages_leaves_plugins_that_train(search_config, toy_resnet):
    search_config.experiment_name = 'stages'
    runner = Runner.from_cfg(config_of_stages(search_config))
    before = [alpha.clone() for alpha in runner.model.alphas]
    runner.train()
    assert len(before) == 2 and not any(torch.equal(a, b) for a, b in zip(before, runner.model.alphas))
    work_dir = Path(runner.work_dir)
    assert not (work_dir / 'genotype.json').exists(), 'this file would hold one genotype for all stages'
    plugins = Config.fromfile(work_dir / 'plugins.py').plugins
    assert [plugin.stages for plugin in plugins] == [(True, False, False), (False, False, True)]
    backbone = CIFARResNet(8, in_channels=1, base_channels=4, plugins=plugins)
    cells = {name: module for name, module in backbone.named_modules() if isinstance(module, HOGA)}
    assert [name.split('.')[0] for name in cells] == ['layer1', 'layer3']
    for stage, cell in zip(('layer1', 'layer3'), cells.values()):
        genotype = Genotype.load(work_dir / stage / 'genotype.json')
        assert cell.genotype == genotype and genotype.meta['stage'] == stage
        assert cell.summary == 'inputs', 'settings of the search carry over'
        assert len(json.loads((work_dir / stage / 'search_history.json').read_text())['epochs']) == 1
    backbone(torch.randn(2, 1, 8, 8))[0].sum().backward()


def test_one_genotype_for_all_stages_keeps_the_entry():
    other = dict(cfg=dict(type='ContextBlock', ratio=0.25), position='y')
    plugins = derived_plugins([other, {**SUPERNET, 'stages': (True, False)}], {'': uniform('se', 2)})
    assert plugins == [
        other,
        dict(cfg=dict(type='mmhoga.HOGA', genotype=[['se'], ['se', 'se']]), position='x', stages=(True, False)),
    ]


def test_one_genotype_per_stage_becomes_one_plugin_per_stage():
    genotypes = {'layer1': uniform('se', 2), 'layer2': uniform('skip_connect', 2)}
    plugins = derived_plugins([SUPERNET], genotypes)
    assert [plugin['stages'] for plugin in plugins] == [(True, False), (False, True)]
    assert [plugin['cfg']['genotype'][0] for plugin in plugins] == [['se'], ['skip_connect']]
    backbone = dict(backbone=dict(plugins=[SUPERNET]))
    assert plugins_file(backbone, genotypes, None) and not plugins_file(backbone, {'top': uniform('se', 2)}, None)

"""Searches in CSPNeXt and HRNet, which take no plugins, and training with what they find."""

import json
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from toy_search import ToyResNet

from mmhoga.cli.train import train_main
from mmhoga.datasets.synthetic.coco_files import Recipe, write_coco
from mmhoga.genotype import Genotype
from mmhoga.insertion import cells_of
from mmhoga.registry import MODELS
from mmhoga.search.derived import insertion_file


def check_records(folder):
    """Both epochs moved all of alpha. Returns the genotype, which is that of the last epoch."""
    first, last = json.loads((folder / 'search_history.json').read_text(encoding='utf-8'))['epochs']
    assert (torch.tensor(last['alpha']) != torch.tensor(first['alpha'])).all()
    genotype = Genotype.load(folder / 'genotype.json')
    assert [list(row) for row in genotype.edges] == last['genotype']
    return genotype


def train(config, work_dir, *options):
    options = ['train_dataloader.batch_size=2', *options]
    assert train_main([str(config), '--work-dir', work_dir, '--no-validate', '--cfg-options', *options]) == 0


def trained_cells(checkpoint):
    """The primitives in a checkpoint, by cell: for each edge, the names of its parameters."""
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    assert all(value.isfinite().all() for value in weights.values())
    return {re.sub(r'\.phi\.0\.weight$', '', name) for name in weights if name.endswith('.phi.0.weight')}


def test_a_search_in_cspnext(root, tmp_path, monkeypatch):
    """One alpha for an RTMDet; its genotype is given to the config that has the insertion."""
    write_coco(tmp_path / 'data/shapes', Recipe('shapes', train=4, val=1))
    monkeypatch.chdir(tmp_path)
    search = root / 'configs/search/hoga-search_rtmdet_1xb8-6e_shapes.py'
    train(search, 's', 'train_cfg.max_epochs=2')
    genotype = check_records(tmp_path / 's')
    insertion = Config.fromfile('s/insertion.py').insertion
    assert insertion.cell == dict(type='mmhoga.HOGA', genotype=[list(row) for row in genotype.edges])
    assert (insertion.type, insertion.into, insertion.after) == ('mmhoga.Insert', 'CSPNeXt', r'stage\d')

    demo = root / 'configs/demo/hoga-rtmdet_1xb8-10e_shapes.py'
    train(demo, 't', 'train_cfg.max_epochs=1', 'model.backbone.cell.genotype=s/genotype.json')
    assert trained_cells('t/epoch_1.pth') == {f'backbone.stage{number}.hoga' for number in (1, 2, 3, 4)}


def test_a_search_in_hrnet(root, tmp_path, monkeypatch):
    """One alpha per stage, from the identity; insertion.py adds the cells to the config of the plain network."""
    write_coco(tmp_path / 'data/people', Recipe('people', train=4, val=1))
    monkeypatch.chdir(tmp_path)
    search = root / 'configs/search/hoga-search_hrnet_1xb16-6e_people.py'
    options = ['model.alpha_per=stage', 'model.architecture.backbone.start=identity']
    train(search, 's', 'train_cfg.max_epochs=2', *options)
    genotypes = {f'stage{number}': check_records(tmp_path / f's/stage{number}') for number in (2, 3, 4)}

    bases = [f'{root}/configs/_base_/models/hrnet_people.py', f'{root}/configs/_base_/schedules/demo_10e.py']
    bases += ['mmpose::_base_/default_runtime.py', f'{tmp_path}/s/insertion.py']
    text = f'_base_ = {bases}\nmodel = dict(backbone={{{{_base_.insertion}}}})\ntrain_cfg = dict(max_epochs=1)\n'
    (tmp_path / 'derived.py').write_text(text, encoding='utf-8')
    train('derived.py', 't')
    blocks = [(stage, branch) for stage in (2, 3, 4) for branch in range(stage)]
    assert trained_cells('t/epoch_1.pth') == {
        f'backbone.stage{stage}.0.branches.{branch}.0.bn2.hoga' for stage, branch in blocks
    }
    cells = cells_of(MODELS.build(Config.fromfile('derived.py').model.backbone, default_args=dict(_scope_='mmpose')))
    for name, cell in cells.items():
        assert cell.genotype.edges == genotypes[name.partition('.')[0]].edges
        assert cell.is_identity()


SUPERNET = dict(type='mmhoga.SearchableHOGA', num_groups=2, primitives=['se', 'norm_3x3'], summary='inputs')
INSERTION = dict(
    type='mmhoga.Insert', into='mmhoga.CIFARResNet', depth=8, in_channels=1, base_channels=4, cell=SUPERNET
)


def searched(alpha_per, **where):
    """The config of a search, its model, and a genotype per stage: K = 2, another operation in each."""
    config = dict(type='mmhoga.SearchModel', architecture=dict(type=ToyResNet, backbone={**INSERTION, **where}))
    model = MODELS.build({**config, 'alpha_per': alpha_per})
    operations = iter(['se', 'norm_3x3', 'se'])
    genotypes = {stage: [[name], [name, name]] for stage, name in zip(model.named_alphas(), operations)}
    return config, model, {stage: Genotype(rows) for stage, rows in genotypes.items()}


@pytest.mark.parametrize('where', [dict(after=r'layer\d|layer\d\.0\.conv2'), dict(before=r'layer[13]\.0')])
@pytest.mark.parametrize('alpha_per', ['model', 'stage'])
def test_the_derived_cells_are_where_the_supernets_were(tmp_path, where, alpha_per):
    config, model, genotypes = searched(alpha_per, **where)
    text = insertion_file(config, genotypes, model, dict(imports=['json']))
    assert 'model = dict(backbone={{_base_.insertion}}).' in text
    (tmp_path / 'insertion.py').write_text(text, encoding='utf-8')
    plain = 'model = dict(backbone=dict(type="mmhoga.CIFARResNet", depth=8, in_channels=1, base_channels=8))'
    (tmp_path / 'plain.py').write_text(plain, encoding='utf-8')
    (tmp_path / 'derived.py').write_text(
        "_base_ = ['plain.py', 'insertion.py']\nmodel = dict(backbone={{_base_.insertion}})", encoding='utf-8'
    )
    derived = Config.fromfile(tmp_path / 'derived.py')
    assert derived.custom_imports == dict(imports=['json'])
    backbone = MODELS.build(derived.model.backbone)
    cells = cells_of(backbone)
    assert cells.keys() == cells_of(model.architecture.backbone).keys()
    for name, cell in cells.items():
        assert cell.genotype.edges == genotypes['' if alpha_per == 'model' else name.partition('.')[0]].edges
        assert cell.summary == 'inputs' and cell.is_identity()
    assert backbone.conv1.out_channels == 8, 'the settings of the network are those of the plain config'


def test_supernets_in_a_neck(root, tmp_path):
    """Inserted into the whole detector. The expected cost counts them, though the backbone does not reach them."""
    detector = Config.fromfile(root / 'configs/_base_/models/rtmdet_shapes.py').model.to_dict()
    architecture = {
        **detector,
        'type': 'mmhoga.Insert',
        'into': 'RTMDet',
        'cell': SUPERNET,
        'after': r'neck\.out_convs\.\d',
    }
    cost = dict(metric='macs', weight=0.1, input_shape=(3, 64, 64))
    init_default_scope('mmdet')
    model = MODELS.build(dict(type='mmhoga.SearchModel', architecture=architecture, cost=cost))
    assert list(model.named_cells()) == [f'neck.out_convs.{level}.hoga' for level in (0, 1, 2)]
    assert 0 < model.cost(model.named_alphas()).item() <= 0.1
    text = insertion_file(dict(architecture=architecture), {'': Genotype([['se'], ['se', 'se']])}, model, None)
    assert 'model = {{_base_.insertion}}.' in text
    (tmp_path / 'insertion.py').write_text(text, encoding='utf-8')
    derived = MODELS.build({**detector, **Config.fromfile(tmp_path / 'insertion.py').insertion})
    assert list(cells_of(derived)) == list(model.named_cells())


def test_no_file_for_two_insertions_or_none():
    _, model, genotypes = searched('model', after='layer1')
    assert not insertion_file(dict(architecture=dict(backbone=dict(type='ResNet'))), genotypes, model, None)
    twice = dict(architecture=dict(backbone=INSERTION, neck=INSERTION))
    assert not insertion_file(twice, genotypes, model, None)

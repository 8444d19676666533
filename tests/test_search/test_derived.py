"""The model of a training with the cells that a search has written to its work_dir."""

import copy

import pytest
from mmengine.config import Config

from mmhoga.genotype import Genotype
from mmhoga.search.derived import derived_model, plugins_file

ROWS = [['se'], ['skip_connect', 'cbam']]
CELL = dict(type='mmhoga.HOGA', genotype='autola', summary='inputs')
OTHER = dict(cfg=dict(type='mmhoga.Attention', name='se'), position='after_conv1')


def test_plugins(tmp_path):
    """Those of the file replace those of the training; all else stays."""
    plugins = [OTHER, dict(cfg=CELL, position='after_conv2')]
    model = dict(type='Detector', backbone=dict(depth=18, plugins=plugins), neck=dict(plugins=[OTHER]))
    before = copy.deepcopy(model)
    found = Genotype(ROWS)
    (tmp_path / 'plugins.py').write_text(plugins_file(dict(architecture=model), {'': found}, None))
    derived = derived_model(model, tmp_path)
    cell = dict(type='mmhoga.HOGA', summary='inputs', genotype=ROWS)
    expected = [OTHER, dict(cfg=cell, position='after_conv2')]
    assert derived == dict(type='Detector', backbone=dict(depth=18, plugins=expected), neck=dict(plugins=[OTHER]))
    assert model == before


@pytest.mark.parametrize('into', ['CSPNeXt', dict(type='CSPNeXt', arch='P5')])
def test_an_insertion(tmp_path, into):
    """Its own settings are those of the file, those of the network those of the training."""
    written = dict(type='mmhoga.Insert', into=into, cell={**CELL, 'genotype': ROWS}, after='stage1|stage2')
    (tmp_path / 'insertion.py').write_text(f'insertion = {written!r}\n')
    insertion = dict(
        type='mmhoga.Insert', into='CSPNeXt', cell=CELL, after=r'stage\d', start='random', widen_factor=0.5
    )
    derived = derived_model(dict(backbone=insertion, head=dict(in_channels=8)), tmp_path)
    assert derived == dict(backbone={**written, 'widen_factor': 0.5}, head=dict(in_channels=8))


def test_cells_in_several_parts(tmp_path):
    """A search then writes neither file, and its genotype goes into every cell."""
    model = [dict(plugins=[dict(cfg=CELL)]), dict(plugins=[dict(cfg=CELL)])]
    assert plugins_file(dict(architecture=dict(parts=model)), {'': Genotype(ROWS)}, None) == ''
    Genotype(ROWS).save(tmp_path / 'genotype.json')
    assert derived_model(model, tmp_path) == [dict(plugins=[dict(cfg={**CELL, 'genotype': ROWS})])] * 2


@pytest.mark.parametrize('imports', ['mmhoga', ['mmhoga']])
def test_the_plugins_fit_beside_a_detector_that_imports_mmhoga(tmp_path, imports):
    """As configs with mmcv-lite do. mmengine refuses a key that two bases have."""
    plugins = [dict(cfg=dict(type='mmhoga.SearchableHOGA', num_groups=len(ROWS)), position='after_conv2')]
    wanted = dict(imports=imports)
    text = plugins_file(dict(architecture=dict(backbone=dict(plugins=plugins))), {'': Genotype(ROWS)}, wanted)
    (tmp_path / 'plugins.py').write_text(text)
    (tmp_path / 'detector.py').write_text(f'custom_imports = {wanted}\n')
    (tmp_path / 'train.py').write_text("_base_ = ['detector.py', 'plugins.py']\n")
    assert 'plugins' in Config.fromfile(tmp_path / 'train.py')

"""Searches on the losses of a detector and a pose estimator, and training with their genotypes."""

import json

import pytest
import torch

from mmhoga.cli.train import train_main
from mmhoga.datasets.synthetic.coco_files import Recipe, write_coco
from mmhoga.genotype import Genotype

SEARCHES = {
    'shapes': ('hoga-search_faster-rcnn_r18_fpn_1xb8-6e_shapes', 'hoga-faster-rcnn_r18_fpn_1xb8-10e_shapes'),
    'people': ('hoga-search_simple-baseline_r18_1xb16-6e_people', 'hoga-td-hm_r18_1xb16-10e_people'),
}


@pytest.mark.parametrize('kind', SEARCHES)
def test_a_search_on_a_hosts_own_losses(root, tmp_path, monkeypatch, kind):
    """Eight pictures, two epochs of search, then two epochs of the derived network."""
    search, train = SEARCHES[kind]
    write_coco(tmp_path / 'data' / kind, Recipe(kind, train=8, val=1))
    monkeypatch.chdir(tmp_path)
    small = ['train_dataloader.batch_size=2', 'train_cfg.max_epochs=2']
    options = ['--no-validate', '--cfg-options', *small]
    assert train_main([str(root / f'configs/search/{search}.py'), '--work-dir', 's', *options]) == 0

    first, last = json.loads((tmp_path / 's/search_history.json').read_text())['epochs']
    moved = torch.tensor(last['alpha']) - torch.tensor(first['alpha'])
    assert (moved != 0).all(), 'every candidate of every edge got a gradient'
    assert {'trainA', 'trainB'} == last['loss'].keys() and last['params'] > 0 and last['macs'] > 0
    genotype = Genotype.load('s/genotype.json')
    assert [list(row) for row in genotype.edges] == last['genotype']

    entry = 'model.backbone.plugins.0.cfg.genotype=s/genotype.json'
    config = str(root / f'configs/demo/{train}.py')
    assert train_main([config, '--work-dir', 't', '--no-validate', '--cfg-options', *small, entry]) == 0
    weights = torch.load('t/epoch_2.pth', weights_only=True)['state_dict']
    inside = [name for name in weights if '.edges.o_' in name]
    learned = {name for row in genotype.edges for name in row} - {'skip_connect'}
    assert bool(inside) == bool(learned)

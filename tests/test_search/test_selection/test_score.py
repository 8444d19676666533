"""Scores of genotypes with the supernet's weights, against one-hot supernets and independent evaluations."""

import copy
import math
from pathlib import Path

import pytest
import torch
from cells import random_genotype
from mmengine.config import Config
from mmengine.runner import Runner
from test_search.test_selection.test_derived_network import set_alpha
from torch.nn.functional import cross_entropy

from mmhoga.search import SearchModel
from mmhoga.search.resume.state import rng_state
from mmhoga.search.selection import GenotypeScorer, SupernetScore
from mmhoga.search.selection.finished import first_batches, open_search
from mmhoga.search.selection.score import badness, loss_on, lower_is_better

runs = iter(range(10**6))


def batch(size=6):
    return {'inputs': torch.rand(size, 1, 8, 8), 'gt_label': torch.randint(10, (size,))}


def run(config, **changes):
    config = copy.deepcopy(config)
    config.merge_from_dict({'experiment_name': f'score{next(runs)}', **changes})
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


@pytest.fixture
def searched(search_config):
    """The folder of a finished search with a validation."""
    loader = {**search_config.train_dataloader.to_dict(), 'sampler': dict(type='DefaultSampler', shuffle=False)}
    search_config.merge_from_dict(dict(val_dataloader=loader, val_evaluator=dict(type='ToyMetric'), val_cfg=dict()))
    return Path(run(search_config).work_dir)


def test_a_score_is_the_loss_of_the_one_hot_supernet(toy):
    torch.manual_seed(0)
    model = SearchModel(toy())
    for _ in range(3):
        model.loss(batch())  # statistics of batch norms
    batches = [batch(6), batch(2)]
    score = GenotypeScorer(model, [], loss_on(batches))
    losses = []
    for seed in (1, 2, 1):
        genotype = random_genotype(2, seed)
        losses.append(score({'': genotype})['loss'])
        oracle = copy.deepcopy(model).eval()
        set_alpha(oracle, {'': genotype})
        with torch.no_grad():
            sums = [cross_entropy(oracle(b['inputs']), b['gt_label'], reduction='sum').item() for b in batches]
        assert losses[-1] == pytest.approx(sum(sums) / 8, rel=1e-5)
    assert losses[0] == losses[2] != losses[1], 'the reused network keeps nothing of the genotype before'


def test_statistics_are_those_of_the_derived_network(toy):
    """The averages over the batches, by the one-hot supernet in training mode with a cumulative average."""
    torch.manual_seed(0)
    model = SearchModel(toy())
    model.loss(batch())
    norm_batches, batches = [batch(8) for _ in range(3)], [batch(16)]
    genotype = random_genotype(2, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    random_state = torch.get_rng_state()
    score = GenotypeScorer(model, norm_batches, loss_on(batches))
    loss = score({'': genotype})['loss']
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    oracle = copy.deepcopy(model)
    set_alpha(oracle, {'': genotype})
    for module in oracle.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
    statistics = []
    for data in norm_batches:  # momentum 1: the statistics of one batch
        for module in oracle.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        oracle.train()(data['inputs'])
        statistics.append({name: value.clone() for name, value in oracle.named_buffers() if 'running' in name})
    for name, buffer in oracle.named_buffers():
        if 'running' in name:
            buffer.copy_(sum(each[name] for each in statistics) / 3)
    with torch.no_grad():
        expected = cross_entropy(oracle.eval()(batches[0]['inputs']), batches[0]['gt_label']).item()
    assert loss == pytest.approx(expected, rel=1e-5)
    assert abs(loss - GenotypeScorer(model, [], loss_on(batches))({'': genotype})['loss']) > 1e-4


def test_frozen_batch_norms_keep_their_statistics(toy):
    model = SearchModel(toy())
    model.architecture.extra = torch.nn.BatchNorm2d(8)
    model.architecture.stem = torch.nn.Sequential(model.architecture.stem, model.architecture.extra)
    train = model.architecture.train

    def frozen(mode=True):
        train(mode)
        score.network.extra.eval()
        return score.network

    score = GenotypeScorer(model, [batch()], loss_on([batch()]))
    score({'': random_genotype(2, 1)})
    assert score.network.extra.running_mean.abs().sum() > 0
    score.network.extra.running_mean.fill_(7)
    train = score.network.train
    score.network.train = frozen
    score({'': random_genotype(2, 1)})
    assert score.network.extra.running_mean.eq(7).all()


def test_scores_of_a_finished_search(searched):
    """SupernetScore opens the search of a folder, and leaves the folder as it is."""
    files = {path: path.read_bytes() for path in searched.rglob('*') if path.is_file()}
    config = Config.fromfile(next(searched.glob('*/vis_data/config.py')))
    checkpoint = searched / 'epoch_2.pth'
    score = SupernetScore(config, checkpoint, norm_batches=2)
    genotypes = [random_genotype(2, seed) for seed in (1, 2)]
    losses = [score(genotype)['loss'] for genotype in genotypes]
    assert losses[0] != losses[1]
    assert {path: path.read_bytes() for path in searched.rglob('*') if path.is_file()} == files

    again = SupernetScore(config, checkpoint, norm_batches=2)
    assert [again(genotype)['loss'] for genotype in reversed(genotypes)] == losses[::-1]

    saved = torch.load(checkpoint, weights_only=True)['state_dict']
    assert torch.equal(score.model.alpha, saved['alpha'])
    direct = GenotypeScorer(
        score.model, first_batches(score.loop, 'trainA', 2), loss_on(first_batches(score.loop, 'trainB', 50))
    )
    assert direct({'': genotypes[0]})['loss'] == losses[0]

    metrics = SupernetScore(config, checkpoint, data='val')(genotypes[0])
    assert metrics.keys() == {'score'}
    with pytest.raises(ValueError, match=r"data must be one of .*not 'test'"):
        SupernetScore(config, checkpoint, data='test')
    for key in ('val_dataloader', 'val_evaluator', 'val_cfg'):
        config[key] = None
    with pytest.raises(ValueError, match="data='val' needs a validation"):
        SupernetScore(config, checkpoint, data='val')


def test_an_opened_search_has_the_temperature_of_its_last_epoch(search_config):
    search_config.train_cfg.temperature = dict(start=4, end=0.25)
    runner = run(search_config)
    loop = open_search(search_config, f'{runner.work_dir}/epoch_2.pth')
    assert loop.runner.model.mixings[0].temperature.item() == 0.25
    loop = open_search(search_config, f'{runner.work_dir}/epoch_1.pth')
    assert loop.runner.model.mixings[0].temperature.item() == 4


def test_batches_are_the_same_in_every_call(search_config):
    loop = Runner.from_cfg(search_config).train_loop
    before = rng_state()['torch']
    first, second = (list(first_batches(loop, 'trainB', 2)) for _ in range(2))
    assert all(torch.equal(a['inputs'], b['inputs']) for a, b in zip(first, second)) and len(first) == 2
    assert torch.equal(rng_state()['torch'], before)
    assert sum(len(data['inputs']) for data in first_batches(loop, 'trainB', None)) == 24


def test_the_direction_of_a_metric():
    assert lower_is_better('loss') and lower_is_better('val/loss_cls')
    assert not lower_is_better('accuracy/top1') and not lower_is_better('coco/bbox_mAP')


def test_a_score_that_is_not_a_number_is_the_worst():
    assert sorted([math.nan, 0.4, 0.1], key=lambda value: badness('loss', value))[:2] == [0.1, 0.4]
    assert sorted([math.nan, 0.1, 0.4], key=lambda value: badness('accuracy', value))[:2] == [0.4, 0.1]

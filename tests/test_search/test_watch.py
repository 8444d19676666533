"""The criteria for a collapsed or settled search, and their consequences."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from mmhoga.genotype import BUILTIN, PRIMITIVES, uniform
from mmhoga.search.records.hook import CollapseWatch


def entry(genotype, alpha=None):
    return {'genotype': genotype.edges, 'alpha': torch.randn(10, 9).tolist() if alpha is None else alpha}


def test_the_papers_genotype_is_not_a_collapse():
    assert CollapseWatch().findings([entry(BUILTIN['autola'])], PRIMITIVES) == {}
    darts_plus = CollapseWatch(max_skips=1).findings([entry(BUILTIN['autola'])], PRIMITIVES)
    assert darts_plus['max_skips'].startswith('3 of 10 edges would be skip-connections')


@pytest.mark.parametrize(('limit', 'collapsed'), [(9, True), (10, False), (0.9, True), (1.0, False), (None, False)])
def test_a_limit_is_a_number_or_a_share(limit, collapsed):
    findings = CollapseWatch(max_skips=limit).findings([entry(uniform('skip_connect'))], PRIMITIVES)
    assert bool(findings) == collapsed


def test_a_ranking_is_stable_when_no_learned_candidate_overtakes_another():
    alpha = torch.randn(10, 9)
    moved = alpha * 2
    moved[:, :2] += 100  # none and the identity: not learned
    overtaken = moved.clone()
    overtaken[3, [4, 5]] = overtaken[3, [5, 4]]
    watch = CollapseWatch(stable_epochs=2)
    epochs = [entry(uniform('se'), a.tolist()) for a in (alpha, alpha, moved, overtaken)]
    assert not watch.findings(epochs[:2], PRIMITIVES), 'two epochs are one change'
    assert watch.findings(epochs[:3], PRIMITIVES).keys() == {'stable_epochs'}
    assert not watch.findings(epochs, PRIMITIVES)


def test_a_finding_is_reported_once():
    watch = CollapseWatch(max_skips=0)
    epochs = [entry(uniform(name)) for name in ('se', 'skip_connect', 'skip_connect')]
    assert [len(watch.news(epochs[:n], PRIMITIVES)) for n in (1, 2, 3)] == [0, 1, 0]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'action': 'panic'}, 'must be one of'),
        ({'max_skips': 3.0}, 'max_skips = 3.0; expected a share'),
        ({'max_skips': -1}, 'max_skips = -1; expected a share'),
        ({'stable_epochs': 0}, 'at least 1'),
    ],
)
def test_bad_limits(arguments, message):
    with pytest.raises(ValueError, match=message):
        CollapseWatch(**arguments)


@pytest.mark.parametrize(('action', 'epochs'), [('warn', 2), ('stop', 1)])
def test_it_warns_or_stops(search_config, action, epochs):
    """After the first epoch: no skip is allowed, and alpha prefers skips on all edges."""
    search_config.custom_hooks = [dict(type='mmhoga.GenotypeHook', watch=dict(max_skips=0, action=action))]
    search_config.experiment_name = f'watch-{action}'
    runner = Runner.from_cfg(search_config)
    runner.model.alpha.data[:, PRIMITIVES.index('skip_connect')] = 50.0
    runner.train()
    history = json.loads(Path(runner.work_dir, 'search_history.json').read_text())
    assert len(history['epochs']) == epochs
    log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert log.count('Watch, epoch') == 1 and 'Watch, epoch 1: 3 of 3 edges would be skip-connections' in log
    if action == 'stop':
        assert log.index('the search stops here') > 0
        search_config.merge_from_dict(dict(resume=True, experiment_name='watch-again'))
        again = Runner.from_cfg(search_config)
        again.train()
        assert again.epoch == 1, 'a stopped search ends at once when resumed'

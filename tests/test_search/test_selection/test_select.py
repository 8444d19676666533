"""The choice at the end of a search, its files, and its repetition after a resume."""

import copy
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from mmhoga.genotype import Genotype
from mmhoga.models import SearchableHOGA
from mmhoga.search import SearchModel
from mmhoga.search.selection import SupernetScore
from mmhoga.search.selection.select import Selection, sampled_genotypes

runs = iter(range(10**6))


def run(config, **changes):
    config = copy.deepcopy(config)
    config.merge_from_dict({'experiment_name': f'select{next(runs)}', **changes})
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def by(method, **options):
    return {'train_cfg.selection': dict(method=method, **options)}


def results(folder):
    names = ('genotype.json', 'candidates.json', 'derived.pth')
    return {name: Path(folder, name).read_bytes() for name in names if Path(folder, name).is_file()}


def test_argmax_is_the_default_and_weights_are_inherited(search_config):
    work_dir = Path(run(search_config).work_dir)
    genotype = Genotype.load(work_dir / 'genotype.json')
    assert genotype.meta['selection'] == {'method': 'argmax'} and genotype.meta['epoch'] == 2
    assert not (work_dir / 'candidates.json').exists()
    checkpoint = torch.load(work_dir / 'derived.pth', weights_only=True)
    searched = torch.load(work_dir / 'epoch_2.pth', weights_only=True)['state_dict']
    for name in ('fc.weight', 'stem.bias', 'cells.1.phi.0.weight'):
        assert torch.equal(checkpoint['state_dict'][name], searched[f'architecture.{name}'])
    assert not any('alpha' in name for name in checkpoint['state_dict'])
    assert any(name.startswith('cells.0.edges.') for name in checkpoint['state_dict'])


@pytest.mark.parametrize(
    ('method', 'options'),
    [('score', dict(candidates=4, norm_batches=2)), ('perturbation', dict(batches=1, tune_iterations=1))],
)
def test_a_selection_is_repeated_by_a_search_that_has_ended(search_config, method, options):
    first = Path(run(search_config, **by(method, **options)).work_dir)
    before = results(first)
    assert before.keys() == {'genotype.json', 'candidates.json', 'derived.pth'}
    genotype = Genotype.load(first / 'genotype.json')
    assert genotype.meta['selection']['method'] == method and genotype.meta['epoch'] == 2
    run(search_config, resume=True, **by(method, **options))
    assert results(first) == before
    run(search_config, resume=True)  # another method
    assert results(first).keys() == {'genotype.json', 'derived.pth'}
    assert Genotype.load(first / 'genotype.json').meta['selection'] == {'method': 'argmax'}


def test_a_selection_does_not_change_the_search(search_config):
    weights = [
        run(search_config, work_dir=f'{search_config.work_dir}{i}', **by(method)).model.state_dict()
        for i, method in enumerate(('argmax', 'perturbation'))
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize(
    ('method', 'options'), [('argmax', {}), ('score', dict(candidates=2, norm_batches=2, batches=2))]
)
def test_a_selection_reads_the_averaged_weights(search_config, method, options):
    """With EMAHook, it agrees with the last checkpoint and with its repetition from there; the raw weights stay."""
    search_config.custom_hooks = [dict(type='EMAHook', momentum=0.2)]
    runner = run(search_config, **by(method, **options))
    folder, checkpoint = Path(runner.work_dir), Path(runner.work_dir) / 'epoch_2.pth'
    saved = torch.load(checkpoint, weights_only=True)
    average, raw = saved['state_dict'], saved['ema_state_dict']
    derived = torch.load(folder / 'derived.pth', weights_only=True)['state_dict']
    name = 'architecture.fc.weight'
    assert not torch.equal(average[name], raw[f'module.{name}'])
    assert torch.equal(derived['fc.weight'], average[name])
    assert torch.equal(runner.model.state_dict()[name], raw[f'module.{name}'])
    if method == 'score':
        best = json.loads((folder / 'candidates.json').read_text())['candidates'][0]
        score = SupernetScore(search_config, checkpoint, batches=2, norm_batches=2)
        metrics = score(Genotype.load(folder / 'genotype.json'))
        assert metrics['loss'] == pytest.approx(best['metrics']['loss'], rel=1e-6)


def test_scored_candidates(search_config):
    work_dir = Path(run(search_config, **by('score', candidates=5, norm_batches=2)).work_dir)
    record = json.loads((work_dir / 'candidates.json').read_text())
    assert (record['format'], record['version'], record['metric']) == ('mmhoga.candidates', 1, 'loss')
    candidates = record['candidates']
    losses = [candidate['metrics']['loss'] for candidate in candidates]
    assert losses == sorted(losses) and len(losses) == 5
    genotypes = [Genotype(candidate['genotype']) for candidate in candidates]
    assert len(set(genotypes)) == 5
    chosen = Genotype.load(work_dir / 'genotype.json')
    assert chosen == genotypes[0] and chosen.meta['selection']['score'] == losses[0]
    shutil.copytree(work_dir, f'{work_dir}_copy')
    search_config.work_dir = f'{work_dir}_copy'
    argmax = Genotype.load(Path(run(search_config, resume=True).work_dir, 'genotype.json'))
    assert argmax in genotypes
    score = SupernetScore(search_config, work_dir / 'epoch_2.pth', norm_batches=2)
    assert [score(genotype)['loss'] for genotype in genotypes] == losses


def test_one_alpha_per_stage(search_config):
    changes = {'model.alpha_per': 'stage', 'model.stage_pattern': r'cells\.\d'}
    options = dict(candidates=3, norm_batches=1)
    work_dir = Path(run(search_config, **changes, **by('score', **options)).work_dir)
    best = json.loads((work_dir / 'candidates.json').read_text())['candidates'][0]['genotype']
    genotypes = {stage: Genotype.load(work_dir / stage / 'genotype.json') for stage in ('cells_0', 'cells_1')}
    assert {stage: Genotype(rows) for stage, rows in best.items()} == genotypes
    assert all(genotype.meta['stage'] == stage for stage, genotype in genotypes.items())
    run(search_config, resume=True, **changes, **by('perturbation', batches=1, tune_iterations=0))
    removals = json.loads((work_dir / 'candidates.json').read_text())['removals']
    for stage in genotypes:
        kept = {record['edge']: record['kept'] for record in removals if record['stage'] == stage}
        rows = Genotype.load(work_dir / stage / 'genotype.json').edges
        assert rows == ((kept['o_0_0'],), (kept['o_0_1'], kept['o_1_1']))


def test_samples_follow_the_softmax_without_none(toy):
    """Of the shares of 3 operations on one edge, in many samples of two other edges."""
    architecture = toy()
    primitives = ('none', 'se', 'skip_connect', 'norm_3x3')
    architecture.cells = SearchableHOGA(8, num_groups=4, primitives=primitives)
    model = SearchModel(architecture)
    model.alpha.data.zero_()
    model.alpha.data[3] = torch.tensor([5.0, 0.6, 0.3, 0.1]).log()  # o_0_2
    genotypes = [each[''] for each in sampled_genotypes(model, 3000, seed=0)]
    assert len(set(genotypes)) == 3000
    assert genotypes[0] == model.genotype()
    shares = Counter(genotype.operation(0, 2) for genotype in genotypes)
    assert 'none' not in shares
    # Standard deviation at most 0.009. Without repetition, the shares are a little closer to each other.
    assert [shares[name] / 3000 for name in primitives[1:]] == pytest.approx([0.6, 0.3, 0.1], abs=0.04)
    assert genotypes == [each[''] for each in sampled_genotypes(model, 3000, seed=0)]
    assert genotypes != [each[''] for each in sampled_genotypes(model, 3000, seed=1)]


def test_a_space_with_fewer_genotypes_than_candidates(toy):
    architecture = toy()
    architecture.cells = SearchableHOGA(8, num_groups=1, primitives=('none', 'se', 'skip_connect'))
    assert len(sampled_genotypes(SearchModel(architecture), 20, seed=0)) == 2


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(method='best'), r"must be one of \('argmax', 'perturbation', 'score'\), not 'best'"),
        (dict(candidates=3), "'argmax' has no option candidates. Its options are none"),
        (dict(method='score', tune_lr=1), "'score' has no option tune_lr. Its options are data, batches"),
        (dict(method='score', data='test'), r"data must be one of .*, not 'test'"),
        (dict(method='score', candidates=0), 'candidates must be at least 1, not 0'),
        (dict(method='perturbation', tune_iterations=-1), 'must not be negative, but is -1'),
    ],
)
def test_invalid_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Selection(**settings)


def test_a_bad_selection_is_refused_before_the_search(search_config):
    with pytest.raises(ValueError, match=r'selection\.method must be one of'):
        run(search_config, **by('best'))


def test_sigterm_stops_a_selection(search_config, monkeypatch):
    calls = []
    monkeypatch.setattr(
        'mmhoga.search.selection.select.scorer_of', lambda loop, **_: lambda genotypes: stop(loop) or {'loss': 1.0}
    )

    def stop(loop):
        calls.append(loop)
        loop.stop_request.received = True

    with pytest.raises(SystemExit) as error:
        run(search_config, **by('score'))
    assert error.value.code == 143 and len(calls) == 1

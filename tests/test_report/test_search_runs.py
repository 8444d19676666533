"""Reading a search: its history, closed forms of what is computed from alpha, damaged files."""

import json
import math

import numpy as np
import pytest
from made_up_runs import history_data

from mmhoga.genotype import PRIMITIVES, GenotypeError, num_edges, uniform
from mmhoga.report.search_runs import read_search
from mmhoga.search.records.history import SearchHistory, read_history


@pytest.fixture
def history_file(tmp_path):
    def write(**changes):
        path = tmp_path / 'search_history.json'
        path.write_text(json.dumps({**history_data(), **changes}))
        return path

    return write


def _history(alpha):
    genotypes = tuple(uniform('se', 1) for _ in alpha)
    return SearchHistory(1, PRIMITIVES, tuple(range(1, len(alpha) + 1)), np.asarray(alpha, float), genotypes)


def test_equal_alpha_has_the_entropy_of_the_reference():
    history = _history([[[3.0] * 9]])
    assert history.max_entropy == pytest.approx(math.log(9))
    assert history.entropy == pytest.approx(np.full((1, 1), math.log(9)))
    assert history.probabilities == pytest.approx(np.full((1, 1, 9), 1 / 9))


def test_entropy_of_two_equal_and_of_one_certain():
    two, one = [0.0, 0.0] + [-1e4] * 7, [1e4] + [0.0] * 8
    assert _history([[two], [one]]).entropy.ravel() == pytest.approx([math.log(2), 0.0])


def test_probabilities_sum_to_one_whatever_the_scale():
    alpha = np.random.default_rng(0).normal(scale=500, size=(3, 1, 9))
    assert _history(alpha).probabilities.sum(-1) == pytest.approx(np.ones((3, 1)))


def test_changes_name_epoch_edge_and_operations():
    before, after = uniform('se', 2), uniform('se', 2).edges
    after = type(before)((after[0], ('cbam', 'se')))
    history = SearchHistory(2, PRIMITIVES, (1, 2, 3), np.zeros((3, 3, 9)), (before, after, after))
    assert history.changes() == [(2, (0, 1), 'se', 'cbam')]


def test_a_finished_search(search_dir):
    search = read_search(search_dir)
    assert search.history.alpha.shape == (5, num_edges(4), 9)
    assert search.history.epochs == (1, 2, 3, 4, 5)
    assert search.genotype == search.history.genotypes[-1]
    assert search.run.final('accuracy/top1') is not None
    assert sum(int(part.split()[0]) for part in search.chosen.split(', ')) == 10


def test_an_unfinished_search_may_lack_each_file(search_dir):
    (search_dir / 'genotype.json').unlink()
    for log in search_dir.glob('*/vis_data/scalars.json'):
        log.unlink()
    search = read_search(search_dir)
    assert search.genotype is None and search.run is None
    assert search.chosen == 'nothing yet'
    (search_dir / 'genotype.json').write_text(uniform('se').to_json())
    (search_dir / 'search_history.json').unlink()
    assert read_search(search_dir).history is None


def test_a_repeated_epoch_counts_once_and_epochs_are_in_order(history_file):
    first, second = history_data(seed=1)['epochs'][:2]
    again = {**first, 'alpha': np.ones((10, 9)).tolist()}
    history = read_history(history_file(epochs=[second, first, again]))
    assert history.epochs == (1, 2)
    assert (history.alpha[0] == 1).all()


def test_a_search_before_its_first_epoch(history_file):
    assert read_history(history_file(epochs=[])).alpha.shape == (0, 10, 9)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'format': 'mmhoga.genotype'},
            r"\('mmhoga.genotype', 1\); expected format 'mmhoga.search_history', version 1",
        ),
        ({'version': 2}, 'expected format'),
        ({'num_groups': 'four'}, 'malformed'),
        ({'epochs': [{'alpha': []}]}, 'epochs are missing or malformed'),
        ({'num_groups': 3}, r'epoch 1: alpha has shape \(10, 9\), expected \(6, 9\)'),
        ({'epochs': [{'epoch': 7, 'alpha': [[1], [1, 2]]}]}, 'epoch 7: alpha is not a table'),
        ({'epochs': [{'epoch': 2, 'alpha': [[math.nan] * 9] * 10}]}, 'epoch 2: .*diverged'),
        ({'epochs': [{'epoch': 2, 'alpha': [[0.0] * 9] * 10, 'genotype': [['sse']]}]}, "unknown operation 'sse'"),
    ],
)
def test_a_damaged_history_says_where(history_file, changes, message):
    with pytest.raises(ValueError, match=message):
        read_history(history_file(**changes))


def test_a_history_that_was_cut_off(tmp_path):
    (tmp_path / 'search_history.json').write_text('{"format": "mmhoga.sea')
    with pytest.raises(ValueError, match='was cut off'):
        read_search(tmp_path)


def test_a_damaged_genotype_is_the_genotype_s_own_error(search_dir):
    (search_dir / 'genotype.json').write_text('{"edges": [["sse"]]}')
    with pytest.raises(GenotypeError, match=r'genotype\.json'):
        read_search(search_dir)


def test_no_search_in_a_work_dir(write_run):
    with pytest.raises(FileNotFoundError, match=r'looked for genotype\.json and search_history\.json'):
        read_search(write_run('plain'))


def test_one_alpha_per_stage(search_dir):
    """The logs are one folder up, and the error for that folder names the stages."""
    stage = search_dir / 'layer1'
    stage.mkdir()
    for name in ('genotype.json', 'search_history.json'):
        data = json.loads((search_dir / name).read_text())
        if 'meta' in data:
            data['meta']['stage'] = 'layer1'
        (stage / name).write_text(json.dumps(data))
        (search_dir / name).unlink()
    with pytest.raises(FileNotFoundError, match=r'one per stage: give one of .*layer1'):
        read_search(search_dir)
    assert read_search(stage).run.work_dir == search_dir


def test_further_numbers_of_an_epoch(history_file):
    """Numbers recorded beside alpha are kept, everything else is left out."""
    first, second = history_data()['epochs'][:2]
    first.update(skip_edges=3, params=1200, loss={'trainA': 0.5, 'val': 0.75, 'note': 'x'}, flag=True, macs=None)
    history = read_history(history_file(epochs=[first, second]))
    assert history.further == ({'skip_edges': 3, 'params': 1200, 'loss/trainA': 0.5, 'loss/val': 0.75}, {})

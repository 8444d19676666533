"""Summaries of several networks, and the costs of a config's model."""

import pytest
from made_up_runs import CONFIG, train_row, val_row

from mmhoga.report import comparison
from mmhoga.report.comparison import NetworkRow
from mmhoga.report.metrics import METRICS
from mmhoga.report.runs import read_run

ACCURACY = METRICS[0]


@pytest.fixture
def row(tmp_path, write_log):
    def make(name, *scores, **kwargs):
        logs = [[train_row(1, 1, 1.0), train_row(2, 2, 1.0, 0.1 * (i + 1)), val_row(2, score)]
                for i, score in enumerate(scores)]  # fmt: skip
        runs = tuple(read_run(write_log(tmp_path / name / str(i), rows)) for i, rows in enumerate(logs))
        return NetworkRow(name, runs, **kwargs)

    return make


def test_the_best_is_named_with_its_numbers(row):
    rows = [row('plain', 90.0, 91.0), row('mine', 95.0, 97.0)]
    sentence, caution = comparison.summary(rows, ACCURACY, 'test', None)
    assert '“mine” reaches 96.00 % test accuracy (95.00 to 97.00 over 2 runs)' in sentence
    assert 'the highest mean of 2 networks; next is “plain” with 90.50 % (90.00 to 91.00 over 2 runs).' in sentence
    assert caution == ''


def test_a_highlighted_network_that_is_not_the_best_is_not_called_best(row):
    rows = [row('plain', 90.0, 91.0), row('mine', 80.0, 81.0), row('se', 70.0, 71.0)]
    sentence, _ = comparison.summary(rows, ACCURACY, 'test', 'mine')
    assert 'place 2 of 3 networks; first is “plain” with 90.50 %' in sentence
    assert 'highest' not in sentence


def test_ranges_that_overlap_are_pointed_out(row):
    rows = [row('a', 95.0, 97.0), row('b', 94.0, 95.0)]
    assert 'not settled' in comparison.summary(rows, ACCURACY, 'test', None)[1]
    assert 'spread' in comparison.summary([row('c', 95.0), row('d', 90.0, 91.0)], ACCURACY, 'test', None)[1]


def test_nothing_measured(row):
    empty = NetworkRow('empty', ())
    assert comparison.summary([empty], ACCURACY, 'test', None) == ('No test accuracy was measured.', '')
    assert comparison.summary([row('a', 95.0), empty], ACCURACY, 'test', None)[0].endswith('(one run).')
    assert comparison.format_scores(empty, ACCURACY) == ('not measured',) * 3
    assert empty.seconds_a_step is None


def test_time_a_step_is_the_median_of_the_runs_unless_given(row):
    assert row('a', 1.0, 2.0, 3.0).seconds_a_step == pytest.approx(0.2)
    assert row('b', 1.0, step_time=7.0).seconds_a_step == 7.0


@pytest.mark.parametrize(
    ('value', 'text'), [(None, 'not measured'), (999_999, '999,999'), (25_557_032, '25.56 M'), (4.11e9, '4.11 G')]
)
def test_counts(value, text):
    assert comparison.format_count(value) == text


@pytest.mark.parametrize(('value', 'text'), [(None, 'not measured'), (0.0412, '41.2 ms'), (1.5, '1.50 s')])
def test_seconds(value, text):
    assert comparison.format_seconds(value) == text


def test_complexity_of_a_config(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(CONFIG.format(seed=0))
    params, macs = comparison.network_complexity(config, (3, 8, 8))
    assert comparison.network_complexity(config, None) == (params, None)
    assert params > 10 * 64 and macs > params

"""Summaries of several networks, and the costs of a config's model."""

from dataclasses import replace

import pytest
from made_up_runs import CONFIG, train_row, val_row

from mmhoga.report import comparison
from mmhoga.report.comparison import METRICS, NetworkRow
from mmhoga.report.costs import network_complexity
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
    sentence = comparison.summary(rows, ACCURACY, 'test', None)
    assert '“mine” reaches 96.00 % test accuracy (95.00 to 97.00 over 2 runs)' in sentence
    assert 'the highest mean of 2 networks. Next is “plain” with 90.50 % (90.00 to 91.00 over 2 runs).' in sentence
    assert comparison.cautions(rows, ACCURACY, None) == []


def test_a_highlighted_network_that_is_not_the_best_is_not_called_best(row):
    rows = [row('plain', 90.0, 91.0), row('mine', 80.0, 81.0), row('se', 70.0, 71.0)]
    sentence = comparison.summary(rows, ACCURACY, 'test', 'mine')
    assert 'place 2 of 3 networks. First is “plain” with 90.50 %' in sentence
    assert 'highest' not in sentence


# 1061 of 1077 images each. The second sum is larger, by the float32 rounding of the metric.
TIE = (
    [98.32868957519531, 98.60724639892578, 98.60724639892578],
    [98.05013656616211, 98.88579559326172, 98.60724639892578],
)


@pytest.mark.parametrize('highlight', [None, 'a', 'b'])
def test_a_tie_has_no_winner(row, highlight):
    """Whoever is ahead by float rounding."""
    assert sum(TIE[0]) != sum(TIE[1])
    rows = [row('plain', 90.0, 90.0), row('a', *TIE[0]), row('b', *TIE[1])]
    for ordered in (rows, rows[::-1]):
        sentence = comparison.summary(ordered, ACCURACY, 'test', highlight)
        assert 'the highest mean of 3 networks, shared with ' in sentence and 'Next is “plain” with 90.00' in sentence
        assert sentence.count('“a”') == sentence.count('“b”') == 1
        assert comparison.cautions(ordered, ACCURACY, highlight) == [], 'no order was claimed'


def test_a_shared_place(row):
    rows = [row('top', 99.0), row('a', 95.0), row('b', 95.0), row('c', 90.0), row('empty')]
    sentence = comparison.summary(rows, ACCURACY, 'test', 'b')
    assert 'place 2 of 4 measured networks, shared with “a” to the digits shown. First is “top”' in sentence
    rows = [row('one', 99.0), row('two', 99.0), row('mine', 95.0)]
    assert 'place 3 of 3 networks. First are “one” and “two”, each with 99.00 %.' in comparison.summary(
        rows, ACCURACY, 'test', 'mine'
    )


def test_ties_print_alike():
    assert ACCURACY.format(98.515000001) == ACCURACY.format(98.514999999)
    assert not ACCURACY.same(98.51, 98.53)
    assert (ACCURACY.format(0.0), ACCURACY.format(0.0004)) == ('0.00', '0.0004')


def test_every_network_whose_range_overlaps_is_named(row):
    rows = [row('a', 95.0, 97.0), row('b', 94.0, 95.0), row('c', 96.0, 98.0), row('d', 80.0, 81.0)]
    (caution,) = comparison.cautions(rows, ACCURACY, 'a')
    assert 'The runs of “a” overlap with those of “c” and “b”' in caution and 'not settled' in caution


def test_a_single_run_within_the_range_of_another_network(row):
    overlap, single = comparison.cautions([row('a', 95.0, 97.0), row('b', 95.5)], ACCURACY, 'b')
    assert 'The runs of “b” overlap with those of “a”' in overlap and '“b” has one run' in single


def test_single_runs_are_pointed_out(row):
    (caution,) = comparison.cautions([row('c', 95.0), row('d', 90.0, 91.0), row('e', 80.0)], ACCURACY, None)
    assert caution == '“c” and “e” have one run each, so the spread over seeds is not known.'
    assert comparison.cautions([row('f', 95.0)], ACCURACY, None) == []


def test_runs_without_a_value_or_an_end_are_pointed_out(row):
    done, other = row('a', 95.0, 95.0), row('b', 80.0, 80.0)
    started = replace(done.runs[0], val=())
    (caution,) = comparison.cautions([replace(done, runs=(*done.runs, started)), other], ACCURACY, None)
    assert caution == '“a”: 1 of 3 runs without accuracy yet.'
    short = replace(done.runs[0], max_epochs=8)
    (caution,) = comparison.cautions([replace(done, runs=(done.runs[0], short)), other], ACCURACY, None)
    assert caution == '“a” has unfinished runs (2 of 8 epochs), of which the last value is shown.'


def test_equal_values_are_no_range(row):
    equal = row('a', 95.0, 95.0)
    assert comparison.format_scores(equal, ACCURACY) == ('95.00', '95.00 in all', '95.00, 95.00')
    assert '(95.00 in all 2 runs)' in comparison.summary([equal], ACCURACY, 'test', None)


def test_tests_and_validations_are_not_mixed_silently(row):
    plain, mine = row('plain', 90.0), row('mine', 95.0)
    tested = replace(mine, runs=(replace(mine.runs[0], test={'accuracy/top1': 96.0}),))
    assert comparison.score_source([plain, mine], ACCURACY) == 'validation'
    assert comparison.score_source([tested], ACCURACY) == 'test'
    assert comparison.score_source([plain, tested], ACCURACY) == 'test or validation'


def test_nothing_measured(row):
    empty = NetworkRow('empty', ())
    assert comparison.summary([empty], ACCURACY, 'test', None) == 'No test accuracy was measured.'
    assert comparison.cautions([empty], ACCURACY, None) == []
    assert comparison.summary([row('a', 95.0), empty], ACCURACY, 'test', None).endswith('(one run).')
    assert comparison.format_scores(empty, ACCURACY) == ('not measured',) * 3
    assert empty.seconds_per_step is None


def test_time_per_step_is_the_median_of_the_runs_unless_given(row):
    assert row('a', 1.0, 2.0, 3.0).seconds_per_step == pytest.approx(0.2)
    assert row('b', 1.0, step_time=7.0).seconds_per_step == 7.0


@pytest.mark.parametrize(
    ('value', 'text'), [(None, 'not measured'), (999_999, '999,999'), (25_557_032, '25.56 M'), (4.11e9, '4.11 G')]
)
def test_counts(value, text):
    assert comparison.format_count(value) == text


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (None, 'not measured'),
        (0.0412, '41.2 ms'),
        (0.00004, '0.04 ms'),
        (1.5, '1.50 s'),
        (33.2, '33 s'),
        (600, '10.0 min'),
        (9000, '2.5 h'),
    ],
)
def test_seconds(value, text):
    assert comparison.format_seconds(value) == text


def test_complexity_of_a_config(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(CONFIG.format(seed=0))
    params, macs = network_complexity(config, (3, 8, 8))
    assert network_complexity(config, None) == (params, None)
    assert params > 10 * 64 and macs > params

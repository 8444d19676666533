"""Plots: well-formed, reproducible, in the page's colour, and with the numbers that they were given."""

import json
import re
from xml.etree import ElementTree

import matplotlib
import pytest
from made_up_runs import history_data

from mmhoga.figures import plots
from mmhoga.figures.styles import INK
from mmhoga.report.runs import read_run
from mmhoga.report.search_runs import read_search
from mmhoga.search.records.history import read_history

ACCURACY = 'test accuracy (%)'


@pytest.fixture
def history(search_dir):
    return read_search(search_dir).history


@pytest.fixture
def networks(write_run):
    names = ('plain', 'cost $1 & <b>')
    return {name: [read_run(write_run(name, seed)).train_curve('loss') for seed in (0, 1)] for name in names}


def _losses(networks):
    return plots.plot_curves(networks, xlabel='epoch', ylabel='loss', name='losses', log=True)


def _texts(svg):
    return [''.join(node.itertext()) for node in ElementTree.fromstring(svg).iter('{http://www.w3.org/2000/svg}text')]


def _every_plot(history, networks):
    scores = {name: [ys[-1] for _, ys in curves] for name, curves in networks.items()}
    return {
        'alpha': plots.plot_alpha(history),
        'choices': plots.plot_choices(history),
        'entropy': plots.plot_entropy(history),
        'losses': _losses(networks),
        'scores': plots.plot_scores(scores, label=ACCURACY, format_value='{:.2f}'.format),
    }


def test_fit_for_a_page(history, networks):
    for name, svg in _every_plot(history, networks).items():
        ElementTree.fromstring(svg)
        assert svg.startswith('<svg'), name
        assert set(re.findall(r'https?://[^"\s<]+', svg)) == {'http://www.w3.org/2000/svg'}, name
        assert 'currentColor' in svg and INK not in svg, name
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert len(ids) == len(set(ids)) and all(id_.startswith(f'{name}-') for id_ in ids), name
        assert {ref.split('#')[1].rstrip(')') for ref in re.findall(r'url\(#[^)]+\)', svg)} <= set(ids), name
        assert set(re.findall(r'href="#([^"]+)"', svg)) <= set(ids), name


def test_the_same_bytes_each_time_and_settings_untouched(history, networks):
    before = dict(matplotlib.rcParams)
    assert _every_plot(history, networks) == _every_plot(history, networks)
    assert dict(matplotlib.rcParams) == before


def test_alpha_has_one_panel_per_edge(history):
    texts = _texts(plots.plot_alpha(history))
    assert sum('→' in text for text in texts) == 10
    assert {'skip', 'SE avg+max', 'CBAM', '1/9'} <= set(texts)


def test_entropy_states_its_reference_and_its_last_mean(history):
    texts = _texts(plots.plot_entropy(history))
    assert 'log 9 = 2.197: all 9 equally likely' in texts
    assert f'mean {history.entropy[-1].mean():.3f}' in texts


def test_mean_curve_at_every_point_that_any_curve_has():
    curves = [([1, 2], [10.0, 20.0]), ([1, 2, 3], [30.0, 10.0, 5.0])]
    assert plots.mean_curve(curves) == ([1, 2, 3], [20.0, 15.0, 5.0], [10.0, 10.0, 5.0], [30.0, 20.0, 5.0])


def test_names_are_shown_as_they_are(networks):
    assert 'cost $1 & <b>' in _texts(_losses(networks))


def test_scores_show_the_mean_and_what_is_missing():
    texts = _texts(plots.plot_scores({'a': [97.0, 98.0], 'b': []}, label=ACCURACY, format_value='{:.2f}'.format))
    assert {'a', 'b', '97.50', 'not measured', 'test accuracy (%)'} <= set(texts)


@pytest.mark.parametrize(('lowest', 'label'), [(1.0, 'loss'), (0.05, 'loss (log scale)'), (-1.0, 'loss')])
def test_a_logarithmic_scale_only_where_it_helps(lowest, label):
    texts = _texts(_losses({'a': [([1, 2], [2.0, lowest])]}))
    assert label in texts
    assert len([text for text in texts if re.fullmatch(r'\W?[\d.]+', text)]) >= 4  # ticks of both axes


def test_a_curve_that_nobody_measured():
    texts = _texts(plots.plot_curves({'a': [([], [])]}, xlabel='epoch', ylabel='loss', name='x', log=True))
    assert 'not measured' in texts


@pytest.mark.parametrize('groups', [1, 2])
def test_few_groups_and_a_single_epoch(tmp_path, groups):
    path = tmp_path / 'search_history.json'
    path.write_text(json.dumps(history_data(groups, epochs=1)))
    history = read_history(path)
    assert sum('→' in text for text in _texts(plots.plot_alpha(history))) == groups * (groups + 1) // 2
    ElementTree.fromstring(plots.plot_entropy(history))


def test_the_history_of_the_genotype(history):
    """A bar for every stretch: one per edge, and one more for every change."""
    stretches = [stretch for edge in history.edges for stretch in plots.choices(history, edge)]
    assert len(stretches) == len(history.edges) + len(history.changes()) > len(history.edges)
    for edge in history.edges:
        epochs = [epoch for start, end, _ in plots.choices(history, edge) for epoch in range(start, end + 1)]
        assert tuple(epochs) == history.epochs
        for start, _, operation in plots.choices(history, edge):
            assert history.genotypes[history.epochs.index(start)].operation(*edge) == operation
    texts = _texts(plots.plot_choices(history))
    assert sum('\N{RIGHTWARDS ARROW}U' in text for text in texts) == len(history.edges)


def test_scores_against_costs():
    """A network without a cost is only in the legend."""
    points = {'small': (1e6, [90.0, 92.0]), 'large': (2e6, [95.0]), 'unknown': (None, [80.0]), 'untrained': (3e6, [])}
    svg = plots.plot_cost(points, xlabel='MACs', ylabel=ACCURACY, name='cost')
    texts = _texts(svg)
    assert {'small', 'large', 'unknown', 'MACs', 'test accuracy (%)'} <= set(texts)
    assert any(text.endswith('M') for text in texts)
    heights = [float(text) for text in texts if re.fullmatch(r'[\d.]+', text) and float(text) > 50]
    assert min(heights) >= 89 and max(heights) <= 96  # the value without a cost does not stretch the axis

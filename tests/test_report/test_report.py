"""The report: complete or absent, escaped, self-contained, and without a number that was not measured."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from made_up_runs import CONFIG, train_row

from mmhoga.report import report
from mmhoga.report.comparison import METRICS, NetworkRow, runs_title
from mmhoga.report.report import report_from_work_dirs, write_report
from mmhoga.report.runs import read_run
from mmhoga.report.search_runs import read_search

LOG = """2025/01/01 00:00:00 - mmengine - INFO -
------------------------------------------------------------
System environment:
    Python: 3.11.7 (main)
    numpy_random_seed: 0
    GPU 0: NVIDIA A100
    PyTorch: 2.14.1
    PyTorch compiling details: PyTorch built with:
  - GCC: 13.3 -fopenmp

Runtime environment:
    cudnn_benchmark: False
    Distributed launcher: slurm
    GPU number: 8
------------------------------------------------------------
    Python: 2 (of somebody else)
"""

VOID = {'meta', 'link', 'br', 'img', 'input', 'hr'}


class Page(HTMLParser):
    """Checks that tags are balanced; collects tags, attributes, text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return ' '.join(' '.join(self.text).split())


@pytest.fixture
def rows(write_run):
    return [NetworkRow(name, tuple(read_run(write_run(name, seed, best)) for seed in range(3)), 1234, 5_000_000)
            for name, best in (('plain', 95.0), ('searched', 97.0))]  # fmt: skip


def test_a_full_report(tmp_path, search_dir, rows):
    path = write_report(
        tmp_path / 'out' / 'report.html',
        title='Digits',
        search=read_search(search_dir),
        comparison=rows,
        environment={'torch': '2.14', 'threads': 2},
        commands=['make demo'],
        notes=['two at a time'],
        highlight='searched',
        split='test',
    )
    html = path.read_text(encoding='utf-8')
    page = Page(html)
    assert html.startswith('<!doctype html>')
    for part in (
        'Genotype',
        'Alpha',
        'Entropy',
        'Comparison',
        'make demo',
        'two at a time',
        '2.14',
        '1,234',
        '5.00 M',
        '40.0 ms',
    ):
        assert part in page.words
    assert 'randomness = dict(deterministic=False, seed=0)' in page.words
    assert '5 epochs of search with seed 0 chose' in page.words
    assert '“searched” reaches' in page.words
    assert page.tags.count('svg') == 2 + 3 + 2 + 3 + 3  # genotypes, alpha, losses, scores and curves, costs
    for run in rows[0].runs:
        assert f'{run.final("accuracy/top1"):.2f}' in page.words
    ids = [value for name, value in page.attributes if name == 'id']
    assert len(ids) == len(set(ids))


def test_it_needs_nothing_from_elsewhere(tmp_path, search_dir, rows):
    html = write_report(tmp_path / 'r.html', title='t', search=read_search(search_dir), comparison=rows).read_text()
    page = Page(html)
    assert not {'script', 'link', 'img', 'iframe'} & set(page.tags)
    links = [value for name, value in page.attributes if name in ('src', 'href', 'xlink:href')]
    assert all(value.startswith('#') for value in links)
    assert set(re.findall(r'https?://[^"\s<]+', html)) == {'http://www.w3.org/2000/svg'}
    assert '@import' not in html and 'url(http' not in html


def test_the_same_input_gives_the_same_bytes(tmp_path, rows):
    texts = [write_report(tmp_path / f'{i}.html', title='t', comparison=rows).read_bytes() for i in range(2)]
    assert texts[0] == texts[1]


def test_everything_is_escaped(tmp_path, write_run):
    evil = '<script>alert("1")</script>&amp;'
    rows = [NetworkRow(evil, (read_run(write_run('a')),))]
    path = write_report(tmp_path / 'r.html', title=evil, comparison=rows, environment={evil: evil}, commands=[evil],
                        highlight=evil, split=evil)  # fmt: skip
    page = Page(path.read_text())
    assert 'script' not in page.tags
    assert page.words.count(evil) > 5


def test_what_was_not_measured_is_said(tmp_path, write_log):
    run = read_run(write_log(tmp_path / 'run', [train_row(1, 1, 1.0)]))
    page = Page(write_report(tmp_path / 'r.html', title='t', comparison=[NetworkRow('a', (run,))]).read_text())
    cells = [value for name, value in page.attributes if name == 'class' and value and 'missing' in value]
    assert len(cells) == 6  # mean, spread, each run, parameters, MACs, time
    assert page.words.count('not measured') == 6
    assert 'nan' not in page.words.lower().split()


def test_a_search_before_its_first_epoch(tmp_path, search_dir):
    (search_dir / 'search_history.json').unlink()
    words = Page(write_report(tmp_path / 'r.html', title='t', search=read_search(search_dir)).read_text()).words
    assert 'Alpha over epochs: not measured' in words


def test_nothing_at_all(tmp_path):
    assert 'Nothing has been measured yet.' in write_report(tmp_path / 'r.html', title='t').read_text()


def test_unreadable_lines_are_reported(tmp_path, write_log):
    run = read_run(write_log(tmp_path / 'run', [train_row(1, 1, 1.0)], tail='{"lo'))
    page = Page(write_report(tmp_path / 'r.html', title='t', comparison=[NetworkRow('a', (run,))]).read_text())
    assert 'Line 2 of' in page.words


def test_a_failure_leaves_the_old_report_and_no_other_file(tmp_path, rows, monkeypatch):
    path = tmp_path / 'out' / 'r.html'
    write_report(path, title='old', comparison=rows[:1])
    old, numbers = path.read_bytes(), path.with_suffix('.json').read_bytes()
    monkeypatch.setattr('os.replace', lambda *_: (_ for _ in ()).throw(OSError('disk full')))
    with pytest.raises(OSError, match='disk full'):
        write_report(path, title='new', comparison=rows)
    assert path.read_bytes() == old and path.with_suffix('.json').read_bytes() == numbers
    assert sorted(file.name for file in path.parent.iterdir()) == ['r.html', 'r.json']


def test_names_must_be_one_of_a_kind_and_known(tmp_path, rows):
    with pytest.raises(ValueError, match='the same name'):
        write_report(tmp_path / 'r.html', title='t', comparison=[rows[0], rows[0]])
    with pytest.raises(ValueError, match="'hoga' is not a network"):
        write_report(tmp_path / 'r.html', title='t', comparison=rows, highlight='hoga')


def test_from_work_dirs(tmp_path, search_dir, write_run):
    folders = [write_run('plain', seed) for seed in (4, 7)]
    path = report_from_work_dirs(
        tmp_path / 'r.html', search_dir=search_dir, networks={'plain': folders}, shape=(3, 8, 8)
    )
    words = Page(path.read_text()).words
    assert 'seeds 4, 7' in words
    assert 'PyTorch' in words and '78,042' in words
    assert 'not measured' not in words


def test_values_are_under_their_seeds_only_if_none_is_missing(rows, tmp_path, write_log):
    metric = METRICS[0]
    unfinished = read_run(write_log(tmp_path / 'x', [train_row(1, 1, 1.0)], config=CONFIG.format(seed=2)))
    cut = NetworkRow('cut', (*rows[0].runs[:2], unfinished))
    assert runs_title(rows, metric) == 'seeds 0, 1, 2'
    assert runs_title([NetworkRow('one', rows[0].runs[:1])], metric) == 'seed 0'
    assert runs_title([*rows, cut], metric) == 'each run'
    assert runs_title([rows[0], NetworkRow('two', rows[0].runs[:2])], metric) == 'each run'


def test_a_missing_work_dir_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        report_from_work_dirs(tmp_path / 'r.html', networks={'a': [tmp_path / 'nowhere']})
    assert not (tmp_path / 'r.html').exists()


def test_none_that_comes_out_highest_is_explained(search_dir):
    search = read_search(search_dir)
    search.history.alpha[-1, :, 0] = 100.0
    assert search.none_is_first
    search.history.alpha[-1, :, 0] = -100.0
    assert not search.none_is_first
    search.history.alpha[-1] = 0.0
    assert not search.none_is_first, 'a tie is not higher'


def test_the_cost_of_an_unfinished_search(tmp_path, search_dir):
    """5 epochs of 20 are in the history; 24 logged steps of 40 ms."""
    (config,) = search_dir.glob('*/vis_data/config.py')
    config.write_text(config.read_text() + 'train_cfg = dict(by_epoch=True, max_epochs=20)\n')
    path = report_from_work_dirs(tmp_path / 'r.html', search_dir=search_dir, shape=(3, 8, 8))
    words = Page(path.read_text()).words
    assert 'epochs 5 of 20 (unfinished: still running, or stopped)' in words
    assert '5 of 20 epochs of search with seed 0 chose' in words and 'so far.' in words
    assert 'time per step, of alpha and weights 40.0 ms' in words
    assert 'steps 24 training time about 960.0 ms, without validation' in words
    assert 'parameters of the supernet 78,042' in words
    history = search_dir / 'search_history.json'
    history.write_text(history.read_text()[:-30])
    with pytest.raises(ValueError, match=r'search_history.json is not valid JSON, or was cut off'):
        report_from_work_dirs(tmp_path / 'r.html', search_dir=search_dir)


def test_the_memory_of_a_search(tmp_path, search_dir):
    (log,) = search_dir.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text(''.join(json.dumps({**row, 'memory': 100 + number}) + '\n' for number, row in enumerate(rows[:3])))
    words = Page(write_report(tmp_path / 'r.html', title='t', search=read_search(search_dir)).read_text()).words
    assert 'memory of the accelerator 102 MiB at most' in words


def test_a_model_that_cannot_be_built_here(tmp_path, write_log):
    """The report is there all the same, and says what it lacks."""
    config = "default_scope = 'mmengine'\nmodel = dict(type='Nowhere')\n"
    folder = write_log(tmp_path / 'run', [train_row(1, 1, 1.0)], config=config)
    words = Page(report_from_work_dirs(tmp_path / 'r.html', networks={'mine': [folder]}).read_text()).words
    assert 'Parameters and MACs of mine could not be counted' in words and 'Nowhere' in words


def test_the_numbers_behind_it(tmp_path, search_dir, rows):
    search = read_search(search_dir)
    path = write_report(tmp_path / 'r.html', title='t', search=search, comparison=rows, environment={'torch': '2.14'})
    numbers = json.loads(path.with_suffix('.json').read_text())
    assert numbers['environment_of_the_report'] == {'torch': '2.14'}
    assert numbers['search']['genotype']['edges'] == [list(row) for row in search.genotype.edges]
    assert numbers['search']['alpha'] == search.history.alpha.tolist()
    assert [change['epoch'] for change in numbers['search']['changes']] == [c[0] for c in search.history.changes()]
    plain = numbers['networks'][0]
    assert (plain['name'], plain['parameters'], plain['macs'], plain['seconds_an_image']) == (
        'plain', 1234, 5_000_000, None)  # fmt: skip
    assert [run['final']['accuracy/top1'] for run in plain['runs']] == rows[0].scores(METRICS[0])
    assert plain['runs'][2]['seed'] == 2
    assert len(plain['runs'][0]['validations']) == len(plain['runs'][0]['losses']['loss']['mean']) == 6


def test_where_the_runs_ran(tmp_path, search_dir, write_run):
    """By the head of their own logs; those on one machine share a list."""
    folders = [write_run('plain', seed) for seed in (0, 1)]
    for folder, gpu in ((search_dir, 'A100'), (folders[0], 'A100'), (folders[1], 'T4')):
        (folder / '20250101_000000' / '20250101_000000.log').write_text(LOG.replace('A100', gpu))
    path = report_from_work_dirs(tmp_path / 'r.html', search_dir=search_dir, networks={'plain': folders})
    words = Page(path.read_text()).words
    assert 'Environment of the runs: search, plain (1 of 2 runs) Python 3.11.7 (main) GPU 0 NVIDIA A100' in words
    assert 'Environment of the runs: plain (1 of 2 runs) Python 3.11.7 (main) GPU 0 NVIDIA T4' in words
    assert 'launcher slurm processes 8' in words and 'GPU number' not in words
    assert '-fopenmp' not in words and 'numpy_random_seed' not in words and 'cudnn_benchmark' not in words


def test_measured_here_and_now(tmp_path, write_run, monkeypatch):
    times = {'plain': 0.5, 'mine': 0.25}
    monkeypatch.setattr(report, 'step_times', lambda configs: {name: times[name] for name in configs})
    monkeypatch.setattr(report, 'image_times', lambda configs, shape: {name: times[name] / 10 for name in configs})
    networks = {'plain': [write_run('plain')], 'mine': [write_run('mine')]}
    path = report_from_work_dirs(
        tmp_path / 'r.html', networks=networks, shape=(3, 8, 8), measure_steps=True, measure_images=True
    )
    page = Page(path.read_text())
    assert {'500.0 ms', '250.0 ms', '50.0 ms', '25.0 ms'} <= set(page.text)
    assert 'time per image' in page.words and 'on the CPU' in page.words
    with pytest.raises(ValueError, match=r'give the shape \(C, H, W\)'):
        report_from_work_dirs(tmp_path / 'r.html', networks=networks, measure_images=True)


def test_networks_of_a_detector_show_all_their_metrics(tmp_path, write_log):
    rows = []
    for name, value in (('a', 0.251), ('b', 0.278)):
        val = {'coco/bbox_mAP': value, 'coco/bbox_mAP_50': 2 * value, 'coco/worst': 'none', 'step': 1}
        rows.append(NetworkRow(name, (read_run(write_log(tmp_path / name, [train_row(1, 1, 1.0), val])),)))
    page = Page(write_report(tmp_path / 'r.html', title='t', comparison=rows).read_text())
    assert (
        '\N{LEFT DOUBLE QUOTATION MARK}b\N{RIGHT DOUBLE QUOTATION MARK} reaches 0.278 validation box AP' in page.words
    )
    assert 'All metrics metric a b coco/bbox_mAP 0.251 0.278 coco/bbox_mAP_50 0.502 0.556' in page.words
    assert 'coco/worst' not in page.words


def test_every_epoch_in_numbers(tmp_path, search_dir):
    path = search_dir / 'search_history.json'
    data = json.loads(path.read_text())
    for number, record in enumerate(data['epochs'][1:]):
        record.update(skip_edges=number, loss={'trainB': number / 8})
    path.write_text(json.dumps(data))
    words = Page(write_report(tmp_path / 'r.html', title='t', search=read_search(search_dir)).read_text()).words
    assert 'epoch mean entropy skip edges loss/trainB 1' in words
    assert re.search(r'not measured not measured 2 [\d.]+ 0 0 3 [\d.]+ 1 0.125 ', words)


def test_one_loss_has_one_value(tmp_path, search_dir):
    """The plot shows the means over epochs that the table has, not those of the logged steps."""
    path = search_dir / 'search_history.json'
    data = json.loads(path.read_text())
    for record in data['epochs']:
        record['loss'] = {'trainA': 0.25, 'trainB': 0.5}
    path.write_text(json.dumps(data))
    search = read_search(search_dir)
    losses, source = search.losses
    assert losses == {
        'weights, on trainA': [([1, 2, 3, 4, 5], [0.25] * 5)],
        'alpha, on trainB': [([1, 2, 3, 4, 5], [0.5] * 5)],
    }
    assert source == 'Losses are means over the epoch.'
    losses, source = replace(search, history=None).losses
    assert losses['weights, on trainA'] == [search.run.train_curve('loss')] and 'logged' in source


def test_a_search_of_one_epoch_has_one_mean_entropy(tmp_path, search_dir):
    path = search_dir / 'search_history.json'
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, 'epochs': data['epochs'][:1]}))
    words = Page(write_report(tmp_path / 'r.html', title='t', search=read_search(search_dir)).read_text()).words
    assert 'nats after epoch 1, the only one so far.' in words and '1 epoch of search' in words
    assert 'No edge changed its operation.' in words


def test_commands_are_complete_and_wrap(tmp_path):
    command = 'mmhoga train config.py --cfg-options ' + 'x' * 300
    html = write_report(tmp_path / 'r.html', title='t', commands=['make demo', command]).read_text()
    assert command in Page(html).words
    assert 'pre.commands { white-space: pre-wrap; overflow-wrap: anywhere; }' in html


def test_times_that_were_measured_differently_are_told_apart(tmp_path, rows):
    words = Page(
        write_report(tmp_path / 'r.html', title='t', comparison=[replace(rows[0], step_time=0.5), rows[1]]).read_text()
    ).words
    assert (
        'measured on the CPU by turns in one process. Of searched it is from the logs, with the loading of data.'
        in words
    )


def test_curves_of_validations_are_not_called_tests(tmp_path, rows):
    tested = replace(rows[0], runs=tuple(replace(run, test={'accuracy/top1': 90.0}) for run in rows[0].runs))
    words = Page(write_report(tmp_path / 'r.html', title='t', comparison=[tested]).read_text()).words
    assert '90.00 % test accuracy (90.00 in all 3 runs)' in words
    assert 'validation accuracy (%)' in words and 'test accuracy (%), mean' in words
    words = Page(write_report(tmp_path / 'r.html', title='t', comparison=[tested], split='test').read_text()).words
    assert 'validation' not in words


def test_epochs_and_iterations_are_told_apart(tmp_path, rows, write_log):
    steps = [{'loss': 1.0, 'iter': s, 'step': s} for s in (10, 20)]
    mixed = [rows[0], NetworkRow('iterations', (read_run(write_log(tmp_path / 'i', steps)),))]
    words = Page(write_report(tmp_path / 'r.html', title='t', comparison=mixed).read_text()).words
    assert 'that reached the epoch or iteration,' in words

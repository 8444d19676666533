"""Reading a run: resumed, cut off, tested, by epochs and by iterations."""

import json

import pytest
from made_up_runs import CONFIG, train_row, val_row

from mmhoga.report.comparison import METRICS, pick_metric
from mmhoga.report.runs import read_run


def test_a_whole_run(write_run):
    run = read_run(write_run('a', seed=3))
    assert len(run.train) == 24 and len(run.val) == 6
    assert run.seed == 3
    assert run.by_epoch
    assert run.final('accuracy/top1') == run.val[-1]['accuracy/top1']
    assert not run.tested('accuracy/top1')
    assert run.metrics == ('accuracy/top1',)
    assert run.notes == ()
    assert 'CIFARResNet' in run.config_path.read_text()


def test_train_curve_is_the_mean_of_each_epoch(tmp_path, write_log):
    rows = [train_row(1, 1, 4.0), train_row(2, 1, 2.0), train_row(3, 2, 1.0), train_row(4, 2, float('nan'))]
    assert read_run(write_log(tmp_path, rows)).train_curve('loss') == ([1, 2], [3.0, 1.0])


def test_step_time_is_the_median_after_the_first_epoch(tmp_path, write_log):
    times = {1: [9.0, 9.0, 9.0], 2: [0.1, 0.2, 0.9]}
    rows = [train_row(3 * e - 3 + i, e, 1.0, t) for e, ts in times.items() for i, t in enumerate(ts, 1)]
    assert read_run(write_log(tmp_path / 'two', rows)).step_time == 0.2
    assert read_run(write_log(tmp_path / 'one', rows[:3])).step_time is None


def test_a_run_by_iterations(tmp_path, write_log):
    rows = [{'loss': float(s), 'time': s / 10, 'iter': s, 'step': s} for s in (10, 20, 30)]
    run = read_run(write_log(tmp_path, [*rows, {'coco/bbox_mAP': 0.4, 'step': 30}]))
    assert not run.by_epoch
    assert run.train_curve('loss') == ([10, 20, 30], [10.0, 20.0, 30.0])
    assert run.val_curve('coco/bbox_mAP') == ([30], [0.4])
    assert run.step_time == 2.5


def test_a_resumed_run_keeps_the_last_row_of_each_step(tmp_path, write_log):
    first = [train_row(1, 1, 9.0), val_row(1, 50.0), train_row(2, 2, 8.0), train_row(3, 2, 7.0), val_row(2, 60.0)]
    second = [train_row(2, 2, 5.0), val_row(2, 70.0), train_row(4, 3, 4.0), val_row(3, 80.0)]
    write_log(tmp_path, first, timestamp='20250101_000000', config=CONFIG.format(seed=1))
    write_log(tmp_path, second, timestamp='20250101_000100', config=CONFIG.format(seed=2))
    run = read_run(tmp_path)
    assert [(row['step'], row['loss']) for row in run.train] == [(1, 9.0), (2, 5.0), (4, 4.0)]
    assert run.val_curve('accuracy/top1') == ([1, 2, 3], [50.0, 70.0, 80.0])
    assert run.seed == 2


def test_a_fresh_start_in_an_old_folder_forgets_the_old_run(tmp_path, write_log):
    old = [train_row(1, 1, 9.0), val_row(1, 50.0), train_row(2, 2, 8.0), val_row(2, 99.0)]
    write_log(tmp_path, old, timestamp='20250101_000000')
    write_log(tmp_path, [train_row(1, 1, 3.0)], timestamp='20250101_000100')
    run = read_run(tmp_path)
    assert [row['loss'] for row in run.train] == [3.0]
    assert run.final('accuracy/top1') is None


def test_values_logged_one_by_one_join_their_step(tmp_path, write_log):
    run = read_run(write_log(tmp_path, [val_row(1, 50.0), {'alpha/entropy': 2.0, 'step': 1}]))
    assert run.final('accuracy/top1') == 50.0
    assert run.final('alpha/entropy') == 2.0
    assert run.metrics == ('accuracy/top1',)


@pytest.mark.parametrize('tail', ['{"loss": 1.0, "ep', '{"loss": 1.0}\n', '[1, 2]\n', '\x00\x00'])
def test_a_damaged_last_line_is_left_out_and_noted(tmp_path, write_log, tail):
    run = read_run(write_log(tmp_path, [train_row(1, 1, 2.0)], tail=tail))
    assert len(run.train) == 1
    assert run.notes == ('Line 2 of 20250101_000000/vis_data/scalars.json was cut off and was left out.',)


def test_steps_are_counted_although_not_all_are_logged(tmp_path, write_log):
    """Logs every 10 of 12 steps: the last line is step 94, but the run had 96."""
    rows = [row for e in range(1, 9) for row in (train_row(12 * e - 2, e, 1.0), val_row(e, 90.0))]
    assert read_run(write_log(tmp_path / 'whole', rows)).steps == (96, True)
    assert read_run(write_log(tmp_path / 'cut', rows[:-1])).steps == (94, False), 'epoch 8 has not ended'
    assert read_run(write_log(tmp_path / 'one', rows[:2])).steps == (10, False), 'the length of an epoch is unknown'
    several = [train_row(12 * e + i - 12, e, 1.0) for e in (1, 2, 3) for i in (5, 10)]
    assert read_run(write_log(tmp_path / 'several', [*several, val_row(3, 90.0)])).steps == (36, True)
    resumed = write_log(tmp_path / 'resumed', rows[:9])
    write_log(resumed, rows[8:], timestamp='20250102_000000')
    assert read_run(resumed).steps == (96, True)


def test_unfinished_runs_are_recognised(tmp_path, write_log):
    config = 'train_cfg = dict(by_epoch=True, max_epochs=3)'
    rows = [train_row(1, 1, 1.0), val_row(1, 90.0), train_row(2, 2, 1.0), train_row(3, 3, 1.0)]
    folder = write_log(tmp_path / 'run', rows, config=config)
    assert read_run(folder).unfinished == '2 of 3 epochs'
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_3.pth'))
    assert read_run(folder).unfinished == '', 'the last epoch was saved, though not validated'
    steps = [{'loss': 1.0, 'iter': s, 'step': s} for s in (10, 20)]
    config = 'train_cfg = dict(by_epoch=False, max_iters=30)'
    run = read_run(write_log(tmp_path / 'iterations', steps, config=config))
    assert (run.unfinished, run.steps) == ('20 of 30 iterations', (20, False))
    run = read_run(write_log(tmp_path / 'end', [*steps, {'coco/bbox_mAP': 0.4, 'step': 30}], config=config))
    assert (run.unfinished, run.steps) == ('', (30, True))
    assert read_run(write_log(tmp_path / 'unknown', rows)).unfinished == ''


def test_a_damaged_line_in_the_middle_is_left_out_and_noted(tmp_path, write_log):
    """As two processes leave it that write at once, or a disk that was full for a while."""
    folder = write_log(tmp_path, [train_row(1, 1, 2.0), train_row(2, 1, 1.0)])
    (log,) = folder.glob('*/vis_data/scalars.json')
    first, second = log.read_text().splitlines()
    log.write_bytes(f'{first}\n{first[:20]}{second}\n'.encode() + b'\xff\xfe\n\n' + f'{second}\n'.encode())
    run = read_run(folder)
    assert [row['loss'] for row in run.train] == [2.0, 1.0]
    assert [note.partition(' of ')[0] for note in run.notes] == ['Line 2', 'Line 3']
    assert all('is not a log row and was left out' in note for note in run.notes)


def test_a_test_of_the_checkpoint_counts_more_than_the_last_validation(write_run):
    folder = write_run('a')
    for stamp, accuracy in (('20250102_000000', 11.0), ('20250103_000000', 12.5)):
        (folder / stamp).mkdir()
        (folder / stamp / f'{stamp}.json').write_text(json.dumps({'accuracy/top1': accuracy, 'time': 0.1}))
    run = read_run(folder)
    assert run.final('accuracy/top1') == 12.5
    assert run.tested('accuracy/top1')


def test_a_test_before_the_last_start_does_not_count(tmp_path, write_log):
    folder = write_log(tmp_path, [train_row(1, 1, 1.0), val_row(1, 50.0)], timestamp='20250101_000000')
    (folder / '20250102_000000').mkdir()
    (folder / '20250102_000000' / '20250102_000000.json').write_text('{"accuracy/top1": 51.0}')
    assert read_run(folder).final('accuracy/top1') == 51.0
    write_log(folder, [train_row(2, 2, 1.0), val_row(2, 60.0)], timestamp='20250103_000000')
    assert read_run(folder).final('accuracy/top1') == 60.0 and read_run(folder).test is None


@pytest.mark.parametrize('config', ['randomness = dict(seed=None)', 'x = 1', 'randomness = dict(', 'randomness = {}'])
def test_a_config_without_a_seed(tmp_path, write_log, config):
    assert read_run(write_log(tmp_path, [train_row(1, 1, 2.0)], config=config)).seed is None


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'No work_dir at .*nowhere.*--work-dir'):
        read_run(tmp_path / 'nowhere')
    (tmp_path / 'epoch_1.pth').touch()
    with pytest.raises(FileNotFoundError, match=r'vis_data/scalars\.json.*It holds epoch_1\.pth'):
        read_run(tmp_path)


def test_pick_metric(tmp_path, write_log, write_run):
    accuracy = read_run(write_run('a'))
    other = read_run(write_log(tmp_path / 'b', [train_row(1, 1, 1.0), {'mine': 1.0, 'step': 1}]))
    assert pick_metric([other, accuracy]) == METRICS[0]
    assert pick_metric([other]).key == 'mine'
    assert pick_metric([accuracy, other], 'mine').axis == 'mine'
    assert pick_metric([]) is None
    with pytest.raises(ValueError, match="No run measured 'mAP'; measured were: accuracy/top1"):
        pick_metric([accuracy], 'mAP')

"""Random search and repeated searches: sampling, running, resuming and summaries."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config
from warm_python import warm_python

from mmhoga.cli.run.jobs import Job
from mmhoga.cli.trials import random_search_main, repeat_search_main
from mmhoga.genotype import BUILTIN, PRIMITIVES, Genotype
from mmhoga.studies.locks import lock_file
from mmhoga.studies.space import sample_genotypes

ROOT = Path(__file__).resolve().parent.parent.parent
TRAIN = str(ROOT / 'configs/digits/hoga-resnet8_1xb96-8e_digits.py')
SEARCH = str(ROOT / 'configs/search/hoga-search_resnet8_1xb64-8e_digits.py')


def test_random_search_ranks_what_has_finished(tmp_path, fake, capsys):
    started, fails = fake
    fails.add(2)
    command = [TRAIN, '--work-dir', str(tmp_path), '--trials', '4']
    assert random_search_main(command) == 2, 'a trial failed'
    out, err = capsys.readouterr()
    assert started == [0, 1, 2, 3] and '1 of 4 trials failed; the first: trial 2 failed' in err
    assert '3 of 4 trials are done' in out

    fails.clear()
    assert random_search_main(command) == 0
    out = capsys.readouterr().out
    assert started[4:] == [2] and '3 of 4 trials are already done' in out
    ranking = json.loads((tmp_path / 'ranking.json').read_text())
    values = [row['accuracy/top1'] for row in ranking['trials']]
    assert values == sorted(values, reverse=True) == [57.0, 54.0, 51.0, 50.0]
    assert [row['trial'] for row in ranking['trials']] == [1, 2, 3, 0]
    sampled = sample_genotypes(4)
    assert all(Genotype(row['genotype']) == sampled[row['trial']] for row in ranking['trials'])
    assert Genotype.load(tmp_path / 'trial_003/genotype.json') == sampled[3]

    assert random_search_main([*command[:-1], '6']) == 0, 'more trials add to fewer'
    assert started[5:] == [4, 5]


def test_a_trial_alone_and_a_summary(tmp_path, fake, capsys):
    started, _ = fake
    command = [TRAIN, '--work-dir', str(tmp_path)]
    assert random_search_main([*command, '--summary']) == 0 and not started
    assert 'No trial of 8 is done yet' in capsys.readouterr().out
    assert random_search_main([*command, '--trial', '5']) == 0 and started == [5]
    assert '1 of 8 trials are done' in capsys.readouterr().out
    assert random_search_main([*command, '--trial', '8']) == 2
    assert 'there are 0 to 7' in capsys.readouterr().err
    assert random_search_main([*command, '--summary', '--metric', 'coco/AP']) == 2
    assert "--metric: No run measured 'coco/AP'; measured were: accuracy/top1" in capsys.readouterr().err


def test_the_folder_of_an_earlier_version_is_continued(tmp_path, fake):
    """It has no record of Optuna. Finished trials are read from their logs."""
    started, _ = fake
    assert random_search_main([TRAIN, '--work-dir', str(tmp_path), '--trials', '2']) == 0
    settings = json.loads((tmp_path / 'trials.json').read_text())
    del settings['id']
    (tmp_path / 'trials.json').write_text(json.dumps(settings))
    (tmp_path / 'study.journal').unlink()
    assert random_search_main([TRAIN, '--work-dir', str(tmp_path), '--trials', '3']) == 0 and started == [0, 1, 2]
    assert len(json.loads((tmp_path / 'ranking.json').read_text())['trials']) == 3


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--seed', '1'], 'belongs to other trials: seed is 0 there and 1 here'),
        (['--cfg-options', 'train_cfg.max_epochs=2'], 'cfg_options is'),
        (['--trials', '9', '--num-groups', '1'], 'There are 8 genotypes'),
    ],
)
def test_another_random_search_is_refused(tmp_path, fake, capsys, arguments, message):
    assert random_search_main([TRAIN, '--work-dir', str(tmp_path), '--trials', '1']) == 0
    assert random_search_main([TRAIN, '--work-dir', str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_config_without_hoga(tmp_path, capsys):
    assert random_search_main(['resnet8_1xb96-8e_digits', '--work-dir', str(tmp_path)]) == 2
    assert 'no plugin of type mmhoga.HOGA' in capsys.readouterr().err


def test_a_search(tmp_path, capsys):
    assert random_search_main([SEARCH, '--work-dir', str(tmp_path)]) == 2
    assert 'is the config of a search' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_repeated_search_compares_its_genotypes(tmp_path, fake, capsys, monkeypatch):
    fake_run = Job.run

    def run(self, *args, **kwargs):
        fake_run(self, *args, **kwargs)
        seed = Config.fromfile(self.config).randomness.seed
        assert seed == 10 + int(self.work_dir.name[-3:])
        name = 'autola' if seed != 12 else 'autola_release'
        Genotype(BUILTIN[name].edges, {'primitives': list(PRIMITIVES)}).save(self.work_dir / 'genotype.json')

    monkeypatch.setattr(Job, 'run', run)
    assert repeat_search_main([SEARCH, '--work-dir', str(tmp_path), '--trials', '3', '--seed', '10']) == 0
    out = capsys.readouterr().out
    assert '3 of 3 searches are done' in out
    assert 'the same operation on 93% of the edges, on average (by chance 12%)' in out
    assert '2 x spatial_3x3, 1 x norm_3x3' in out


@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere the training goes on')
def test_killed_and_resumed(tmp_path):
    """SIGKILL to the command ends its training too. The same command ends with a ranked table, in ``my runs, new``."""
    command = [
        warm_python(), '-W', 'ignore', '-m', 'mmhoga', 'random-search', Path(TRAIN).stem, '--trials', '2',
        '--work-dir', 'rand', '--primitives', 'se', 'skip_connect', '--cfg-options', 'train_cfg.max_epochs=2',
    ]  # fmt: skip
    folder = tmp_path / 'my runs, new'
    folder.mkdir()
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    first = subprocess.Popen(command, cwd=folder, env=environment)
    deadline = time.monotonic() + 240
    while not (folder / 'rand/trial_000/last_checkpoint').exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    first.kill()
    first.wait()
    while (lock := lock_file(folder / 'rand/trial_000/.lock')) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    lock.close()
    environment['WARM_PYTHON'] = 'all'
    second = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stdout + second.stderr
    table = second.stdout[second.stdout.index('rank  trial') :].splitlines()
    assert len(table) == 4 and table[-1].startswith('2 of 2 trials are done')
    assert 'resumed epoch' in (folder / 'rand/trial_000/console.log').read_text()
    genotype = Genotype.load(folder / 'rand/trial_001/genotype.json')
    cells = Config.fromfile(folder / 'rand/trial_001/config.py').model.backbone.plugins
    assert Genotype(cells[0].cfg.genotype) == genotype == sample_genotypes(2, primitives=['se', 'skip_connect'])[1]

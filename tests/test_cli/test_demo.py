import pytest

from mmhoga.cli import demo
from mmhoga.cli.demo import NETWORKS, SEARCHED, demo_main, search_job, training_jobs
from mmhoga.cli.run.jobs import Job, JobError
from mmhoga.hosts import load_config


def test_every_network_differs_from_plain_by_its_attention_alone():
    plain = load_config(NETWORKS['plain']).to_dict()
    for name, path in NETWORKS.items():
        config = load_config(path).to_dict()
        assert ('plugins' in config['model']['backbone']) == (name != 'plain')
        config['model']['backbone'].pop('plugins', None)
        assert config == plain, name


def test_commands_are_what_a_person_can_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = training_jobs(tmp_path / 'work_dirs/demo', seeds=[3])
    assert jobs['SE'][0].typed == (
        'mmhoga train digits/se-resnet8_1xb96-8e_digits '
        '--work-dir work_dirs/demo/se-seed3 --resume --cfg-options randomness.seed=3'
    )
    assert jobs[SEARCHED][0].typed.endswith('model.backbone.plugins.0.cfg.genotype=work_dirs/demo/search/genotype.json')
    assert len({job.work_dir for network in jobs.values() for job in network}) == len(NETWORKS)
    assert search_job(tmp_path).last_step == 8 and search_job(tmp_path, epochs=2).last_step == 2


def test_a_failed_step_names_its_log(tmp_path, capsys, monkeypatch):
    job = Job('broken', 'no-such-config.py', tmp_path / 'broken')
    with pytest.raises(JobError, match=r'broken failed \(exit code 2\)') as error:
        job.run(threads=1)
    assert 'no-such-config.py' in str(error.value) and str(tmp_path / 'broken/console.log') in str(error.value)

    monkeypatch.setattr(demo, 'SEARCH', 'no-such-config.py')
    monkeypatch.setattr(demo.Job, 'last_step', 1)
    monkeypatch.setattr(demo, 'NETWORKS', {SEARCHED: NETWORKS[SEARCHED]})
    assert demo_main(['--work-dir', str(tmp_path), '--seeds', '0']) == 2
    assert 'search failed' in capsys.readouterr().err

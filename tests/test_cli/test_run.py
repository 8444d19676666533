"""The flags of ``train`` and ``test``, and the messages of errors before the first step."""

import argparse
import json
import os
import sys
import urllib.error
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmhoga import hosts
from mmhoga.cli import test as test_command
from mmhoga.cli import train as train_command
from mmhoga.cli.run import distributed, errors, runner
from mmhoga.cli.run.arguments import add_config_options, option_text
from mmhoga.files import near_names
from mmhoga.genotype import Genotype
from mmhoga.hosts import LaunchError, set_preprocessor
from mmhoga.models import HOGA

PARTS = ('train', 'val', 'test')


def sgd(lr=0.1, **wrapper):
    return dict(optimizer=dict(type='SGD', lr=lr), **wrapper)


def search_wrappers():
    return dict(
        constructor='mmhoga.SearchOptimWrapperConstructor',
        weights=sgd(0.025, type='OptimWrapper', clip_grad=dict(max_norm=5)),
        alpha=dict(optimizer=dict(type='Adam', lr=0.003)),
    )


@pytest.fixture
def write_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')

    def write(text='', name='toy.py'):
        (tmp_path / name).write_text(f"model = dict(type='Net')\n{text}")
        return str(tmp_path / name)

    return write


def train_config(*argv):
    return train_command.train_config(train_command.train_parser().parse_args(argv))


class TestWorkDir:
    @pytest.mark.parametrize(
        ('in_config', 'flag', 'expected'),
        [
            (None, None, str(Path('work_dirs', 'toy'))),
            ('from_config', None, 'from_config'),
            ('from_config', 'from_flag', 'from_flag'),
        ],
    )
    def test_priority(self, write_config, in_config, flag, expected):
        path = write_config(f'work_dir = {in_config!r}')
        cfg, _ = train_config(path, *(['--work-dir', flag] if flag else []))
        assert cfg.work_dir == expected

    def test_options_override_the_config(self, write_config):
        path = write_config("model = dict(type='Net', depth=18)")
        cfg, _ = train_config(path, '--cfg-options', 'model.depth=50', 'work_dir=other')
        assert (cfg.model.depth, cfg.work_dir) == (50, 'other')


class TestConfigOptions:
    def parse(self, *pairs):
        parser = argparse.ArgumentParser()
        add_config_options(parser)
        return parser.parse_args(['--cfg-options', *pairs]).cfg_options

    @pytest.mark.parametrize(
        ('text', 'value'),
        [
            ('1', 1),
            ('1e-3', 1e-3),
            ('true', True),
            ('None', None),
            ('a b', 'ab'),
            ('a,b', ['a', 'b']),
            ('[1,2]', [1, 2]),
            ('[a,b]', ['a', 'b']),
            ('[(1,2),(3,4)]', [(1, 2), (3, 4)]),
            ('"a b, c"', 'a b, c'),
            ("['a b', 'c']", ['a b', 'c']),
        ],
    )
    def test_values(self, text, value):
        """As in mmengine, except that a value in quotes of its own keeps its blanks and commas."""
        assert self.parse(f'key={text}') == {'key': value}

    @pytest.mark.parametrize(
        'value',
        ['/my data, new/x=[1].json', "it's", '12', 'None', 'plain/path.json', 3, 0.5, True, None, [1, 'a b'], (2,)],
    )
    def test_a_written_option_is_read_back(self, value):
        assert self.parse(option_text('a.b', value)) == {'a.b': value}
        assert option_text('a', Path('x/y.json')) == 'a=x/y.json'

    @pytest.mark.parametrize('pair', ['max_epochs', 'x=[(1,2]'])
    def test_bad_pairs(self, pair, capsys):
        with pytest.raises(SystemExit) as error:
            self.parse(pair)
        assert error.value.code == 2 and '--cfg-options takes KEY=VALUE' in capsys.readouterr().err


class TestConfigNames:
    @pytest.mark.parametrize(
        'name',
        [
            'se-resnet8_1xb96-8e_digits',
            'se-resnet8_1xb96-8e_digits.py',
            'digits/se-resnet8_1xb96-8e_digits',
            'configs/digits/se-resnet8_1xb96-8e_digits.py',
        ],
    )
    def test_by_name_from_any_folder(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        cfg = hosts.load_config(name)
        assert cfg.model.backbone.plugins[0].cfg.name == 'se'
        assert Path(cfg.filename) == hosts.shipped_configs() / 'digits' / 'se-resnet8_1xb96-8e_digits.py'

    def test_a_file_wins(self, write_config):
        write_config('model = dict(depth=18)', name='se-resnet8_1xb96-8e_digits.py')
        assert hosts.load_config('se-resnet8_1xb96-8e_digits.py').model.depth == 18

    def test_names_are_unique(self):
        names = [path.name for path in hosts.shipped_configs().rglob('*.py') if '_base_' not in path.parts]
        assert len(names) == len(set(names)) > 50

    @pytest.mark.parametrize(
        'name', ['se-resnet8_1xb96_digits', 'digits/se-resnet8-digits.py', 'digit/se-resnet8_1xb96.py']
    )
    def test_an_unknown_name_lists_near_ones(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(LaunchError, match=rf'there is no config {name}.*Did you mean .*resnet8_1xb96-8e_digits'):
            hosts.load_config(name)


class TestBadConfigs:
    """Every mistake in a config is one paragraph that names the config, and a key where there is one."""

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            (['model.backbone.plugins.0.cfg.genotype=autolaa'], "model.backbone.plugins.0.cfg.genotype = 'autolaa'"),
            (['model.backbone.base_channels=18'], 'K = 4 groups'),
            (['model.backbone.type=NoSuchNet'], "model.backbone.type = 'NoSuchNet'"),
            (['model.head.num_class=10'], 'num_class'),
            (['optim_wrapper.optimizer.type=SGDD'], 'not a callable object'),
            (['train_dataloader.dataset.split=trian'], 'trian'),
            (['model.backbone.plugins.3.cfg.genotype=autola'], '--cfg-options does not fit'),
            (['load_from=nowhere.pth'], 'there is no nowhere.pth'),
        ],
    )
    def test_option(self, tmp_path, monkeypatch, capsys, options, message):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv('LOCAL_RANK', '0')
        assert train_command.train_main(['hoga-resnet8_1xb96-8e_digits', '--cfg-options', *options]) == 2
        error = capsys.readouterr().err.rpartition('error: ')[2]
        assert message in error
        assert error.count('\n') == 1 and 'digits.py' in error

    @pytest.mark.parametrize('text', ['model = dict(', 'model = 1 / 0', 'import no_such_module', 'model = nowhere'])
    def test_text(self, write_config, text):
        with pytest.raises(LaunchError, match=r'toy\.py') as error:
            hosts.load_config(write_config(text))
        assert '\n' not in str(error.value)


class TestGenotypesInAConfig:
    """Dumped configs and checkpoints hold the genotype itself, so that they can be built on another machine."""

    PLUGIN = 'model.backbone.plugins.0.cfg.genotype'

    def test_a_path_becomes_rows(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        genotype = Genotype.from_config('hog_se')
        genotype.save(tmp_path / 'genotype.json')
        cfg = hosts.load_config('hoga-resnet8_1xb96-8e_digits', {self.PLUGIN: 'genotype.json'})
        (tmp_path / 'genotype.json').unlink()
        dumped = Config.fromstring(cfg.pretty_text, '.py')
        cells = [module for module in hosts.build_model(dumped).modules() if isinstance(module, HOGA)]
        assert [cell.genotype for cell in cells] == [genotype] * 3

    def test_a_name_and_a_missing_file_stay(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for text in ('autola', 'to_be_searched.json'):
            cfg = hosts.load_config('hoga-resnet8_1xb96-8e_digits', {self.PLUGIN: text})
            assert cfg.model.backbone.plugins[0].cfg.genotype == text

    def test_a_spoilt_file_is_named_with_its_key(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / 'genotype.json').write_text('{"edges": [["se"], ["se"]]}')
        with pytest.raises(LaunchError, match=r'model\.backbone\.plugins\.0\.cfg\.genotype: genotype\.json'):
            hosts.load_config('hoga-resnet8_1xb96-8e_digits', {self.PLUGIN: 'genotype.json'})


class TestResume:
    def save(self, work_dir, recorded):
        work_dir.mkdir(parents=True)
        (work_dir / 'epoch_3.pth').touch()
        (work_dir / 'last_checkpoint').write_text(str(recorded))

    def test_nothing_there_keeps_load_from(self, write_config):
        cfg, notes = train_config(write_config("load_from = 'weights.pth'"), '--resume')
        assert (cfg.resume, cfg.load_from) == (False, 'weights.pth')
        assert len(notes) == 1
        assert 'from scratch' in notes[0]

    def test_last_checkpoint(self, write_config, tmp_path):
        saved = tmp_path / 'work_dirs' / 'toy' / 'epoch_3.pth'
        self.save(saved.parent, saved)
        cfg, notes = train_config(write_config("load_from = 'weights.pth'"), '--resume')
        assert cfg.resume and Path(cfg.load_from).resolve() == saved
        assert cfg.load_from in notes[0]

    def test_work_dir_was_moved(self, tmp_path):
        self.save(tmp_path / 'here', '/elsewhere/epoch_3.pth')
        assert runner.latest_checkpoint(tmp_path / 'here') == tmp_path / 'here' / 'epoch_3.pth'

    def test_recorded_checkpoint_is_gone(self, tmp_path):
        self.save(tmp_path / 'here', tmp_path / 'here' / 'epoch_4.pth')
        with pytest.raises(LaunchError, match=r'epoch_4\.pth'):
            runner.latest_checkpoint(tmp_path / 'here')

    def test_named(self, write_config, tmp_path):
        (tmp_path / 'epoch_12.pth').touch()
        path = write_config()
        cfg, _ = train_config(path, '--resume', 'epoch_12.pth')
        assert (cfg.resume, cfg.load_from) == (True, 'epoch_12.pth')
        with pytest.raises(LaunchError, match=r'no checkpoint epoch_21\.pth.*epoch_12\.pth'):
            train_config(path, '--resume', 'epoch_21.pth')

    def test_addresses_are_not_looked_for_here(self):
        runner.require_checkpoint('https://example.org/weights.pth')


class TestAmp:
    def test_one_optimizer(self):
        cfg = Config(dict(optim_wrapper=sgd()))
        runner.set_amp(cfg, amp=True, accelerator=True)
        assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
        assert cfg.optim_wrapper.loss_scale == 'dynamic'

    def test_every_optimizer_of_a_dict(self):
        cfg = Config(dict(optim_wrapper=search_wrappers()))
        runner.set_amp(cfg, amp=True, accelerator=True)
        for name in ('weights', 'alpha'):
            assert cfg.optim_wrapper[name].type == 'AmpOptimWrapper'
            assert cfg.optim_wrapper[name].loss_scale == 'dynamic'
        assert cfg.optim_wrapper.weights.clip_grad == dict(max_norm=5)
        assert 'type' not in cfg.optim_wrapper
        assert 'loss_scale' not in cfg.optim_wrapper

    def test_own_loss_scale_stays(self):
        cfg = Config(dict(optim_wrapper=sgd(type='AmpOptimWrapper', loss_scale=512.0)))
        runner.set_amp(cfg, amp=True, accelerator=True)
        assert cfg.optim_wrapper.loss_scale == 512.0

    @pytest.mark.parametrize(('amp', 'kind'), [(True, 'OptimWrapper'), (False, 'AmpOptimWrapper')])
    def test_needs_an_accelerator(self, amp, kind):
        cfg = Config(dict(optim_wrapper=sgd(type=kind)))
        with pytest.raises(LaunchError, match='needs an accelerator'):
            runner.set_amp(cfg, amp=amp, accelerator=False)

    def test_full_precision_needs_none(self):
        cfg = Config(dict(optim_wrapper=search_wrappers()))
        runner.set_amp(cfg, amp=False, accelerator=False)
        assert cfg.optim_wrapper == search_wrappers()

    def test_other_wrappers_cannot_turn(self):
        cfg = Config(dict(optim_wrapper=sgd(type='ApexOptimWrapper')))
        with pytest.raises(LaunchError, match='ApexOptimWrapper'):
            runner.set_amp(cfg, amp=True, accelerator=True)


class TestAutoScaleLR:
    def config(self, wrappers, **settings):
        return Config(
            dict(optim_wrapper=wrappers, train_dataloader=dict(batch_size=32), auto_scale_lr=settings),
        )

    def test_one_optimizer_is_left_to_mmengine(self):
        cfg = self.config(sgd(0.1), base_batch_size=256)
        assert runner.set_auto_scale_lr(cfg, True, world_size=4) is None
        assert cfg.auto_scale_lr.enable
        assert cfg.optim_wrapper.optimizer.lr == 0.1

    def test_of_a_dict_only_sgd_scales(self):
        cfg = self.config(search_wrappers(), base_batch_size=64)
        note = runner.set_auto_scale_lr(cfg, True, world_size=4)
        assert cfg.optim_wrapper.weights.optimizer.lr == pytest.approx(0.025 * 4 * 32 / 64)
        assert cfg.optim_wrapper.alpha.optimizer.lr == 0.003
        assert 'weights to 0.05' in note
        assert 'alpha stays at 0.003' in note

    def test_twice_is_once(self):
        """The config that a run leaves in its work_dir can be run with the flag again."""
        cfg = self.config(search_wrappers(), base_batch_size=64)
        for _ in range(2):
            runner.set_auto_scale_lr(cfg, True, world_size=4)
        assert cfg.optim_wrapper.weights.optimizer.lr == pytest.approx(0.05)
        assert not cfg.auto_scale_lr.enable, 'mmengine would scale alpha too'

    def test_named_optimizers(self):
        cfg = self.config(search_wrappers(), base_batch_size=16, optimizers=['alpha'])
        runner.set_auto_scale_lr(cfg, True, world_size=1)
        assert cfg.optim_wrapper.weights.optimizer.lr == 0.025
        assert cfg.optim_wrapper.alpha.optimizer.lr == pytest.approx(0.006)
        cfg = self.config(search_wrappers(), base_batch_size=16, optimizers=['beta'])
        with pytest.raises(LaunchError, match='alpha, weights'):
            runner.set_auto_scale_lr(cfg, True, world_size=1)

    def test_enabled_by_the_config(self):
        cfg = self.config(search_wrappers(), base_batch_size=16, enable=True)
        runner.set_auto_scale_lr(cfg, False, world_size=1)
        assert cfg.optim_wrapper.weights.optimizer.lr == pytest.approx(0.05)

    def test_not_asked_for(self):
        cfg = self.config(search_wrappers(), base_batch_size=16)
        runner.set_auto_scale_lr(cfg, False, world_size=1)
        assert cfg.optim_wrapper == search_wrappers()

    def test_base_batch_size_is_needed(self):
        with pytest.raises(LaunchError, match='base_batch_size'):
            runner.set_auto_scale_lr(self.config(sgd()), True, world_size=1)


class TestLoaders:
    def config(self, scope):
        train_cfg = dict(type='mmhoga.SearchLoop', alpha_dataloader=dict(num_workers=2, dataset=dict()))
        return Config(
            dict(
                default_scope=scope,
                train_dataloader=dict(num_workers=2),
                val_dataloader=dict(num_workers=0, persistent_workers=True),
                train_cfg=train_cfg,
                val_cfg=None,
            )
        )

    def test_mmpretrain_defaults(self):
        cfg = self.config('mmpretrain')
        runner.set_loader_defaults(cfg, pin_memory=False, persistent_workers=True)
        for loader in (cfg.train_dataloader, cfg.train_cfg.alpha_dataloader):
            assert loader.collate_fn.type == 'default_collate'
            assert loader.persistent_workers
            assert not loader.pin_memory
        assert not cfg.val_dataloader.get('persistent_workers'), 'torch raises without workers'

    def test_other_hosts_keep_their_own(self):
        cfg = self.config('mmdet')
        runner.set_loader_defaults(cfg, pin_memory=True, persistent_workers=True)
        assert cfg.train_dataloader == dict(num_workers=2)
        assert not cfg.val_dataloader.get('persistent_workers')

    def test_what_the_config_says_stays(self):
        cfg = Config(dict(default_scope='mmpretrain', test_dataloader=dict(num_workers=1, pin_memory=True)))
        runner.set_loader_defaults(cfg, pin_memory=False, persistent_workers=True)
        assert cfg.test_dataloader.pin_memory

    def test_no_validate(self, write_config):
        path = write_config(
            "default_scope = 'mmpretrain'\nval_cfg = dict()\nval_dataloader = dict(batch_size=2)\n"
            "val_evaluator = dict(type='Accuracy')"
        )
        cfg, _ = train_config(path, '--no-validate')
        assert (cfg.val_cfg, cfg.val_dataloader, cfg.val_evaluator) == (None, None, None)

    def test_mmpose_preprocessor(self):
        cfg = Config(dict(preprocess_cfg=dict(mean=[0]), model=dict(type='Pose')))
        set_preprocessor(cfg)
        assert cfg.model.data_preprocessor == dict(mean=[0])


class TestTestOptions:
    @pytest.mark.parametrize(
        ('argv', 'predictions', 'metrics'),
        [
            ([], [], None),
            (['--out', 'x.pkl'], ['x.pkl'], None),
            (['--out', 'x.json'], [], 'x.json'),
            (['--out', 'x.pkl', '--out-item', 'metrics'], [], 'x.pkl'),
            (['--out', 'x.json', '--dump', 'y.pkl'], ['y.pkl'], 'x.json'),
        ],
    )
    def test_outputs(self, argv, predictions, metrics):
        args = test_command.test_parser().parse_args(['config', 'checkpoint', *argv])
        assert test_command.outputs(args) == (predictions, metrics)

    @pytest.mark.parametrize(
        'argv',
        [
            ['--out-item', 'pred'],
            ['--out', 'x.txt'],
            ['--dump', 'x.json'],
            ['--out', 'x.json', '--out-item', 'pred'],
        ],
    )
    def test_bad_outputs(self, argv):
        args = test_command.test_parser().parse_args(['config', 'checkpoint', *argv])
        with pytest.raises(LaunchError, match=r'--out|must end in'):
            test_command.outputs(args)

    @pytest.mark.parametrize(
        ('scope', 'expected'),
        [
            ('mmdet', dict(draw=True, test_out_dir='drawn')),
            ('mmpretrain', dict(enable=True, out_dir='drawn')),
            ('mmpose', dict(enable=True, out_dir='drawn')),
        ],
    )
    def test_show_dir(self, scope, expected):
        hook = dict(type='VisualizationHook')
        cfg = Config(dict(default_scope=scope, default_hooks=dict(visualization=hook)))
        args = argparse.Namespace(show=False, show_dir='drawn', interval=5, wait_time=1)
        test_command.set_visualization(cfg, args)
        assert dict(hook, **expected, show=False, wait_time=1, interval=5) == cfg.default_hooks.visualization

    def test_show_dir_without_the_hook(self):
        with pytest.raises(LaunchError, match='VisualizationHook'):
            test_command.set_visualization(Config(), argparse.Namespace(show=True))

    def test_tta(self):
        dataset = dict(type='D', pipeline=[dict(type='Load'), dict(type='PackDetInputs')])
        cfg = Config(
            dict(
                default_scope='mmdet',
                model=dict(type='FasterRCNN'),
                test_dataloader=dict(dataset=dict(type='Wrapper', dataset=dataset)),
            )
        )
        test_command.set_tta(cfg)
        assert cfg.model.type == 'DetTTAModel'
        assert cfg.model.module.type == 'FasterRCNN'
        load, augment = cfg.test_dataloader.dataset.dataset.pipeline
        assert (load.type, augment.type) == ('Load', 'TestTimeAug')
        flips, (pack,) = augment.transforms
        assert [flip.prob for flip in flips] == [1, 0]
        assert 'flip_direction' in pack['meta_keys']
        with pytest.raises(LaunchError, match='tta_model'):
            test_command.set_tta(Config(dict(default_scope='mmpose', test_dataloader=cfg.test_dataloader)))


class TestDistributed:
    def test_world_size(self, monkeypatch):
        assert distributed.get_world_size('none') == 1
        for name, value in dict(SLURM_PROCID=3, SLURM_NTASKS=8, SLURM_LOCALID=1).items():
            monkeypatch.setenv(name, str(value))
        assert distributed.get_world_size('slurm') == 8

    def test_nobody_started_the_processes(self, monkeypatch):
        monkeypatch.delenv('RANK', raising=False)
        with pytest.raises(LaunchError, match=r'RANK.*dist_train\.sh'):
            distributed.get_world_size('pytorch')

    def test_without_an_accelerator(self, monkeypatch):
        started = []
        monkeypatch.setattr(distributed, 'has_accelerator', lambda: False)
        monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend, **_: started.append(backend))
        names = dict(OMPI_COMM_WORLD_RANK=1, OMPI_COMM_WORLD_SIZE=2, OMPI_COMM_WORLD_LOCAL_RANK=1)
        for name, value in dict(names, MASTER_ADDR='', MASTER_PORT='').items():
            monkeypatch.setenv(name, str(value))
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
            monkeypatch.setenv(name, '')  # so that what prepare() sets is undone
        cfg = Config(dict(launcher='mpi', find_unused_parameters=True))
        distributed.prepare(cfg)
        assert started == ['gloo']
        assert cfg.model_wrapper_cfg.device_ids is None
        assert cfg.model_wrapper_cfg.find_unused_parameters
        assert (os.environ['RANK'], os.environ['WORLD_SIZE']) == ('1', '2')

    def test_slurm_address(self, monkeypatch, tmp_path):
        scontrol = tmp_path / 'scontrol'
        scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[7-8]" ] && echo node7 && echo node8\n')
        scontrol.chmod(0o755)
        monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
        monkeypatch.setenv('SLURM_NODELIST', 'node[7-8]')
        assert distributed._first_slurm_host() == 'node7'

    def test_one_process_is_left_alone(self):
        cfg = Config(dict(launcher='none'))
        distributed.prepare(cfg)
        assert 'model_wrapper_cfg' not in cfg
        assert not torch.distributed.is_initialized()


class TestErrors:
    def test_config_of_a_similar_name(self, write_config):
        write_config(name='hoga-resnet50.py')
        with pytest.raises(LaunchError, match=r'no config hoga-resnet5\.py.*hoga-resnet50\.py'):
            train_config('hoga-resnet5.py')

    def test_folder_of_a_similar_name(self, tmp_path):
        (tmp_path / 'configs').mkdir()
        assert f'Did you mean {tmp_path / "configs"}?' in near_names(tmp_path / 'config' / 'imagenet' / 'a.py')

    @pytest.mark.parametrize(
        'text',
        [
            "default_scope = 'mmpose'",
            "model = dict(type='SearchModel', backbones=[dict(type='mmpose.HRNet')])",
            "model = dict(_scope_='mmpose', type='HRNet')",
        ],
    )
    def test_host_not_installed(self, write_config, monkeypatch, text):
        find_spec = hosts.importlib.util.find_spec
        monkeypatch.setattr(
            hosts.importlib.util,
            'find_spec',
            lambda name: None if name == 'mmpose' else find_spec(name),
        )
        with pytest.raises(LaunchError, match=r"mmpose'?.*pip install 'mmhoga\[pose\]'"):
            hosts.load_config(write_config(text))

    def test_host_of_a_base_not_installed(self, write_config, monkeypatch):
        monkeypatch.setattr('mmengine.config.config.is_installed', lambda package: False)
        with pytest.raises(LaunchError, match=r"mmdet.*pip install 'mmhoga\[det\]'"):
            hosts.load_config(write_config("_base_ = 'mmdet::ssd/ssd300_coco.py'"))

    def test_base_that_does_not_exist(self, write_config):
        with pytest.raises(LaunchError, match=r'nowhere\.py'):
            hosts.load_config(write_config("_base_ = './nowhere.py'"))

    def data_config(self, root):
        def dataset(split):
            files = dict(ann_file=f'annotations/{split}.json', data_prefix=dict(img=f'{split}/'))
            return dict(dataset=dict(type='Coco', data_root=root, **files))

        return Config(
            dict(
                data_root=root,  # a mere variable of the config: changing it changes nothing
                train_dataloader=dataset('train2017'),
                val_dataloader=dict(dataset=dict(type='Wrapper', datasets=[dataset('val2017')])),
                val_evaluator=dict(type='CocoMetric', ann_file='labels/val2017.json'),
                model=dict(backbone=dict(init_cfg=dict(checkpoint='weights/hoga.pth'))),
            ),
        )

    @pytest.mark.parametrize(
        ('missing', 'key'),
        [
            ('data/coco/annotations/train2017.json', 'train_dataloader.dataset.data_root'),
            ('data/coco/train2017', 'train_dataloader.dataset.data_root'),
            ('data/coco/val2017', 'val_dataloader.dataset.datasets.0.dataset.data_root'),
            ('labels/val2017.json', 'val_evaluator.ann_file'),
            ('weights/hoga.pth', 'model.backbone.init_cfg.checkpoint'),
        ],
    )
    def test_key_of_a_missing_path(self, tmp_path, monkeypatch, missing, key):
        monkeypatch.chdir(tmp_path)
        coco = json.dumps({name: [{}] for name in errors.COCO_LISTS})
        files = {'data/coco/annotations/train2017.json': coco, 'data/coco/annotations/val2017.json': coco}
        files.update({'labels/val2017.json': coco, 'weights/hoga.pth': ''})
        folders = ['data/coco/train2017', 'data/coco/val2017']
        for path in [*files, *folders]:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            if path != missing:
                Path(path).write_text(text)
        for path in folders:
            if path != missing:
                Path(path).mkdir()
        problem = errors.data_problem(self.data_config('data/coco/'), PARTS)
        assert f'there is no {missing}' in problem.replace('//', '/')
        assert f': {key} = ' in problem

    def test_only_the_parts_that_a_command_uses_are_checked(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path('weights').mkdir()
        Path('weights/hoga.pth').touch()
        cfg = self.data_config('data/coco/')
        assert 'train2017' in errors.data_problem(cfg, PARTS)
        assert 'val2017' in errors.data_problem(cfg, ['val'])
        assert errors.data_problem(cfg, ['test']) is None

    @pytest.mark.parametrize(
        'error',
        [
            FileNotFoundError(2, 'No such file or directory', 'data/coco/annotations/train2017.json'),
            FileNotFoundError('data/coco/annotations/train2017.json can not be found.'),
            AssertionError('Annotation file `data/coco/annotations/train2017.json`does not exist'),
            FileNotFoundError(
                'Caught FileNotFoundError in DataLoader worker process 0.\nOriginal Traceback:\n'
                f'  File "{torch.__file__}", line 1\n'
                "[Errno 2] No such file or directory: 'data/coco/annotations/train2017.json'"
            ),
        ],
        ids=['open', 'mmengine', 'mmpose', 'worker'],
    )
    def test_missing_data(self, tmp_path, monkeypatch, error):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(LaunchError) as raised, errors.explained(self.data_config('data/coco/'), PARTS):
            raise error
        message = str(raised.value)
        assert str(tmp_path / 'data/coco/annotations/train2017.json') in message
        assert "train_dataloader.dataset.ann_file = 'annotations/train2017.json'" in message
        assert 'https://cocodataset.org' in message
        assert message.endswith('mkdir -p data && ln -s /where/it/is data/coco')

    def test_root_is_there_and_a_file_is_not(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / 'data/coco/annotation').mkdir(parents=True)
        path = 'data/coco/annotations/train2017.json'
        with pytest.raises(LaunchError) as raised, errors.explained(self.data_config('data/coco/'), PARTS):
            raise FileNotFoundError(2, 'No such file', path)
        assert str(raised.value).endswith(f'Did you mean {tmp_path}/data/coco/annotation?')

    def test_download_without_network(self):
        with pytest.raises(LaunchError, match='Name or service not known'), errors.explained(Config(), PARTS):
            raise urllib.error.URLError('Name or service not known')

    @pytest.mark.parametrize('error', [AssertionError('shapes differ'), ValueError('a/b not found')])
    def test_other_errors_are_one_paragraph_until_the_first_step(self, error):
        with (
            pytest.raises(LaunchError, match=f'the config: {type(error).__name__}: {error}'),
            errors.explained(Config(), PARTS),
        ):
            raise error
        with pytest.raises(type(error)), errors.explained(Config(), PARTS, has_started=lambda: True):
            raise error

    def test_the_last_line_of_a_workers_traceback(self):
        text = (
            'Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\nOSError: bad'
        )
        assert hosts.one_paragraph(OSError(text)) == 'OSError: bad'

    def test_exit_codes(self, capsys, monkeypatch):
        monkeypatch.delenv('MMHOGA_DEBUG', raising=False)

        def fail(error):
            raise error

        assert errors.run(lambda: None) == 0
        assert errors.run(lambda: fail(KeyboardInterrupt())) == 130
        assert errors.run(lambda: fail(LaunchError('no such thing'))) == 2
        assert capsys.readouterr().err.endswith('error: no such thing\n')
        assert errors.run(lambda: 1 // 0) == 2
        assert 'error: ZeroDivisionError: integer division' in capsys.readouterr().err
        error = ValueError('in the middle of the work')
        errors.keep_traceback(error)
        with pytest.raises(ValueError, match='in the middle'):
            errors.run(lambda: fail(error))
        monkeypatch.setenv('MMHOGA_DEBUG', '1')
        with pytest.raises(LaunchError):
            errors.run(lambda: fail(LaunchError('no such thing')))


class TestHosts:
    def test_mmpretrain_comes_without_mmdet(self, monkeypatch):
        seen = []
        monkeypatch.delitem(sys.modules, 'mmdet', raising=False)
        monkeypatch.setattr(hosts.importlib, 'import_module', lambda name: seen.append((name, sys.modules['mmdet'])))
        hosts.import_mmpretrain(Config(dict(default_scope='mmpretrain')))
        assert seen == [('mmpretrain.models', None)]
        assert 'mmdet' not in sys.modules
        mixed = dict(default_scope='mmpretrain', model=dict(type='mmdet.FasterRCNN'))
        hosts.import_mmpretrain(Config(mixed))
        hosts.import_mmpretrain(Config(dict(default_scope='mmdet')))
        assert len(seen) == 1

"""The scripts in tools/ and a few commands, run as a user runs them. Each start costs seconds."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from warm_python import warm_python

from mmhoga.hosts import import_mmpretrain, load_config

TOY = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['toy_hook'])
custom_hooks = [dict(type='KeepEveryRank')]
randomness = dict(seed=0)
preprocessor = dict(num_classes=10, mean=[78.0], std=[96.0], to_rgb=False)
classifier = dict(
    type='ImageClassifier',
    data_preprocessor=preprocessor,
    backbone=dict(
        type='mmhoga.CIFARResNet',
        depth=8,
        in_channels=1,
        base_channels=8,
        plugins=[dict(cfg=dict(type=PLUGIN), position='after_conv2')],
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=32),
)

def loader(split, shuffle, indices):
    dataset = dict(type='mmhoga.Digits', split=split, indices=indices, pipeline=[dict(type='PackInputs')])
    return dict(batch_size=32, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=shuffle))

train_dataloader = loader('train', True, 64)
val_dataloader = test_dataloader = loader('test', False, 50)
val_evaluator = test_evaluator = dict(type='Accuracy')
val_cfg = test_cfg = dict()
"""

TRAIN = (
    TOY.replace('PLUGIN', "'mmhoga.HOGA'")
    + """
model = classifier
train_cfg = dict(by_epoch=True, max_epochs=EPOCHS, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05))
"""
)

SEARCH = (
    TOY.replace('PLUGIN', "'mmhoga.SearchableHOGA'")
    + """
model = dict(type='mmhoga.SearchModel', architecture=classifier)
train_cfg = dict(type='mmhoga.SearchLoop', split=dict(fraction=0.5, seed=0), max_epochs=1)
optim_wrapper = dict(
    constructor='mmhoga.SearchOptimWrapperConstructor',
    weights=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9), clip_grad=dict(max_norm=5)),
    alpha=dict(optimizer=dict(type='Adam', lr=0.003)),
)
auto_scale_lr = dict(base_batch_size=32)
"""
)

# In a module, not in the config: what a user would write to see into a run.
HOOK = """
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class KeepEveryRank(Hook):
    def after_train(self, runner):
        if get_world_size() > 1:
            model = runner.model.module
            state = dict(
                weights={name: parameter.detach() for name, parameter in model.named_parameters()},
                lr=[wrapper.get_lr()['lr'][0] for wrapper in runner.optim_wrapper.values()],
            )
            torch.save(state, f'{runner.work_dir}/rank{get_rank()}.pth')
"""


@pytest.fixture
def workspace(tmp_path):
    """A user's folder, outside the checkout, with a module of its own."""
    (tmp_path / 'toy_hook.py').write_text(HOOK)
    return tmp_path


@pytest.fixture
def start(root, workspace):
    """Start a script of tools/ or a command in the user's folder. It is killed at the end of the test."""
    started = []

    def start(tool, *arguments, **environment):
        path = str(root / 'tools' / tool)
        python = [warm_python(), '-W', 'ignore']
        module = [] if tool == '-m' else ['-m', 'mmhoga']
        command = [path] if tool.endswith('.sh') else [*python, *([path] if '.' in tool else [*module, tool])]
        process = subprocess.Popen(
            [*command, *map(str, arguments)],
            cwd=workspace,
            env={
                **os.environ,
                'PYTHONPATH': f'{root}{os.pathsep}{workspace}',
                'PATH': f'{Path(warm_python()).parent}{os.pathsep}{os.environ["PATH"]}',
                'WARM_PYTHON': 'all',
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # If the tests run in the background of a script, the shell has them ignore Ctrl-C, and children inherit it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def finish(process, timeout=240):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out + err


def test_interrupt_resume_test(start, workspace):
    """Ctrl-C ends a run quietly, --resume finishes it, and tools/test.py evaluates what it left."""
    (workspace / 'toy.py').write_text(TRAIN.replace('EPOCHS', '1000'))
    process = start('train.py', 'toy.py')
    saved = workspace / 'work_dirs' / 'toy' / 'last_checkpoint'
    deadline = time.monotonic() + 120
    while not saved.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, text = finish(process, timeout=60)
    assert code == 130, text
    assert 'Traceback' not in text
    assert text.endswith('interrupted\n')

    done = int(saved.read_text().rpartition('_')[2].removesuffix('.pth'))
    (workspace / 'toy.py').write_text(TRAIN.replace('EPOCHS', str(done + 2)))
    code, text = finish(start('train.py', 'toy.py', '--resume'))
    assert code == 0, text
    assert f'resumed epoch: {done}' in text
    assert f'Epoch(train) [{done + 2}]' in text
    assert f'Epoch(train) [{done}][' not in text
    accuracy = text.rpartition('accuracy/top1: ')[2].split()[0]

    checkpoint = f'work_dirs/toy/epoch_{done + 2}.pth'
    code, text = finish(start('test.py', 'toy.py', checkpoint, '--out', 'metrics.json'))
    assert code == 0, text
    metrics = json.loads((workspace / 'metrics.json').read_text())
    assert metrics == {'accuracy/top1': pytest.approx(float(accuracy), abs=1e-4)}


def test_two_processes_search_without_gpu(start, workspace):
    """dist_train.sh from another directory: both end with one and the same alpha and weights."""
    (workspace / 'search.py').write_text(SEARCH)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    code, text = finish(
        start('dist_train.sh', 'search.py', 2, '--auto-scale-lr', PORT=str(port), CUDA_VISIBLE_DEVICES='-1')
    )
    assert code == 0, text
    first, second = (torch.load(workspace / 'work_dirs' / 'search' / f'rank{rank}.pth') for rank in (0, 1))
    assert 'alpha' in first['weights']
    for name, value in first['weights'].items():
        torch.testing.assert_close(value, second['weights'][name], rtol=0, atol=0, msg=name)
    assert first['lr'] == pytest.approx([0.05 * 2, 0.003])  # 2 x 32 images a step, tuned for 32


def test_sigterm_to_the_launcher_is_its_exit_code(start, workspace):
    """The processes receive the signal and end first. torchrun itself would end with 1."""
    (workspace / 'child.py').write_text("""
import pathlib, signal, sys, time
def stop(*_):
    pathlib.Path('stopped').touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
pathlib.Path('ready').touch()
time.sleep(100)
""")
    process = start('-m', 'mmhoga.cli.run.torchrun', '--nproc_per_node=1', '--standalone', 'child.py')
    deadline = time.monotonic() + 120
    while not (workspace / 'ready').exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    code, text = finish(process)
    assert code == 143, text
    assert 'Traceback' not in text
    assert (workspace / 'stopped').exists()


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_slurm(root, tmp_path, tool):
    """The arguments of srun: none is split at blanks, lost or empty."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    script = root / 'tools' / f'slurm_{tool}.sh'
    environment = {**os.environ, 'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', 'GPUS': '4'}
    for srun_args in ('', '--requeue --quiet'):
        out = subprocess.check_output(
            [script, 'gpu', 'my job', 'a config.py', 'there', '--cfg-options', 'a=b c'],
            env={**environment, 'SRUN_ARGS': srun_args},
            cwd=tmp_path,
            text=True,
        ).splitlines()
        assert out[:3] == ['-p', 'gpu', '--job-name=my job']
        assert {'--gres=gpu:4', '--ntasks=4', '--ntasks-per-node=4', *srun_args.split()} <= set(out)
        assert '' not in out
        there = '--work-dir=there' if tool == 'train' else 'there'
        path = str(root / 'tools' / f'{tool}.py')
        assert out[out.index(path) + 1 :] == ['--launcher=slurm', 'a config.py', there, '--cfg-options', 'a=b c']


def test_no_data(start, root, workspace):
    """One error without a traceback: the missing path, the config's key, the remedy."""
    config = root / 'configs' / 'imagenet' / 'hoga-resnet50_8xb32_in1k.py'
    code, text = finish(start('train.py', config))
    assert code == 2, text
    assert 'Traceback' not in text
    error = text.rpartition('error: ')[2]
    assert str(workspace / 'data' / 'imagenet' / 'train') in error
    assert "train_dataloader.dataset.data_root = 'data/imagenet'" in error
    assert 'ln -s /where/it/is data/imagenet' in error


def test_flops(start, root):
    config = root / 'configs' / 'imagenet' / 'hoga-resnet50_8xb32_in1k.py'
    code, text = finish(start('flops', config, '--shape', 224, 224))
    assert code == 0, text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()[-4:]}
    assert rows['backbone'] == ['27.34', '4.70']
    assert rows['total'] == ['29.39', '4.70']


@pytest.mark.parametrize(
    ('config', 'params'),
    [('resnet50', 25.56), ('se-resnet50', 28.09), ('cbam-resnet50', 28.07), ('hoga-resnet101', 51.81)],
)
def test_imagenet_configs(root, config, params):
    """The paper's figures (Table 4), except that it has 28.09 M for CBAM."""
    cfg = load_config(str(root / 'configs' / 'imagenet' / f'{config}_8xb32_in1k.py'))
    import_mmpretrain(cfg)
    init_default_scope('mmpretrain')
    with torch.device('meta'):  # shapes without numbers
        model = MODELS.build(cfg.model)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == params
    assert cfg.train_dataloader.batch_size == 32
    assert cfg.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, _scope_='mmpretrain'
    )
    assert cfg.param_scheduler.milestones == [30, 60, 90]
    assert cfg.train_cfg.max_epochs == 100


def test_a_port_in_use(root):
    """tools/dist_train.sh ends at once, and says how to name another port."""
    from mmhoga.cli.run.torchrun import port_in_use

    arguments = ['--nnodes=1', '--node_rank=0', '--master_addr=127.0.0.1', '--nproc_per_node=1']
    with socket.socket() as server:
        server.bind(('', 0))
        server.listen()
        port = server.getsockname()[1]
        assert port_in_use([*arguments, f'--master_port={port}', 'train.py']) == port
        assert port_in_use([*arguments[:1], '--node_rank=1', f'--master_port={port}', 'train.py']) is None
        result = subprocess.run(
            [root / 'tools/dist_train.sh', 'any.py', '1'],
            env={**os.environ, 'PORT': str(port), 'PATH': f'{Path(warm_python()).parent}:{os.environ["PATH"]}'},
            capture_output=True,
            text=True,
            check=False,
        )
    assert port_in_use([*arguments, f'--master_port={port}', 'train.py']) is None
    assert result.returncode == 2
    assert result.stderr == f'error: port {port} is in use by another program or run. Choose one: PORT={port + 1}.\n'

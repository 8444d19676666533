"""Damaged checkpoints, pictures and annotations: one paragraph that names the file, in every way to load it."""

import copy
import io
import json
import math
import random
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from mmhoga.cli.main import main
from mmhoga.cli.run import errors
from mmhoga.cli.run.annotations import require_numbers
from mmhoga.cli.run.errors import LONGEST
from mmhoga.cli.run.faults import fault
from mmhoga.cli.run.pictures import name_pictures
from mmhoga.cli.run.weights import not_numbers
from mmhoga.hosts import LaunchError
from mmhoga.registry import HOOKS

TINY = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=10, mean=[78.0], std=[96.0], to_rgb=False),
    backbone=dict(type='mmhoga.CIFARResNet', depth=8, in_channels=1, base_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=16))
data = dict(type='mmhoga.Digits', split='test', indices=8, pipeline=[dict(type='PackInputs')])
train_dataloader = dict(batch_size=8, num_workers=0, dataset=data, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = train_dataloader
test_evaluator = dict(type='Accuracy')
test_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
"""


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with a config and the bytes of a checkpoint of one epoch."""
    folder = tmp_path_factory.mktemp('trained')
    (folder / 'tiny.py').write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('LOCAL_RANK', '0')
        assert main(['train', str(folder / 'tiny.py'), '--work-dir', str(folder / 'run')]) == 0
    return folder, (folder / 'run/epoch_1.pth').read_bytes()


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def changed(whole, change):
    """The bytes of a checkpoint after ``change(content)``, which returns another content or None."""
    content = torch.load(io.BytesIO(whole), weights_only=True)
    result = change(content)
    return saved(content if result is None else result)


def weights(change):
    """Replace the state_dict of a content."""
    return lambda content: content.update(state_dict=change(content['state_dict']))


def spoil(value):
    """One element of one tensor."""

    def change(content):
        content['state_dict']['head.fc.weight'].view(-1)[3] = value

    return change


# name -> (a function of the whole bytes, a pattern of the message)
NOT_READ = {
    f'cut to {part}': (lambda whole, part=part: whole[: int(len(whole) * part)], '') for part in (0, 0.01, 0.5, 0.99)
}
NOT_READ |= {
    'text': (lambda whole: b'hello\n' * 100, 'did not write it'),
    'zeros inside': (lambda whole: whole[:9000] + bytes(4096) + whole[13096:], ''),
    'a number': (lambda whole: saved(5), ''),
    'a list': (lambda whole: saved([1, 2]), ''),
}
NOT_WEIGHTS = {
    'empty': (lambda content: {}, 'has no weights'),
    'no state_dict': (weights(lambda state: {}), 'has no weights'),
    'a list of weights': (weights(lambda state: [1]), ''),
    'weights that are text': (weights(lambda state: dict.fromkeys(state, 'x')), ''),
    'other keys': (weights(lambda state: {f'x.{key}': value for key, value in state.items()}), 'of another network'),
    'other shapes': (
        weights(lambda state: {key: torch.zeros(3, 7) for key in state}),
        'of another network|is not one of this CIFARResNet',
    ),
    'one NaN': (spoil(math.nan), r'1 of \d+ weights are not numbers .* the first is head\.fc\.weight'),
    'one infinity': (spoil(math.inf), 'not numbers'),
}
NOT_TO_RESUME = {
    'another head': (
        lambda content: content['state_dict'].update({'head.fc.weight': torch.zeros(7, 16)}),
        r'lacks 1 of the \d+ weights, .* the first is head\.fc\.weight\. To start',
    ),
    'half of the keys': (weights(lambda state: dict(list(state.items())[::2])), 'lacks .* use load_from'),
    'no logs': (lambda content: content.pop('message_hub') and None, ''),
    'meta is text': (lambda content: content.update(meta='x'), 'no epoch and iteration'),
    'a negative epoch': (lambda content: content['meta'].update(epoch=-1), 'its epoch is -1'),
    'optimizer without groups': (lambda content: content['optimizer'].pop('param_groups') and None, ''),
    'optimizer of other weights': (lambda content: content['optimizer'].update(param_groups=[]), ''),
    'logs that are a number': (lambda content: content['message_hub'].update(log_scalars=5), ''),
}
CASES = [(name, 'test', *case) for name, case in (NOT_READ | NOT_WEIGHTS).items()]
CASES += [(name, 'resume', *case) for name, case in NOT_TO_RESUME.items()]
CASES += [(name, 'resume', *NOT_WEIGHTS[name]) for name in ('one NaN', 'other keys')]
CASES += [(name, 'load_from', *(NOT_READ | NOT_WEIGHTS)[name]) for name in ('text', 'one NaN', 'other keys')]
CASES += [(name, 'Pretrained', *(NOT_READ | NOT_WEIGHTS)[name]) for name in ('cut to 0.5', 'one NaN')]
CASES += [(name, 'publish', *NOT_WEIGHTS[name]) for name in ('empty', 'one NaN')]
CASES += [('one NaN', 'export', *NOT_WEIGHTS['one NaN'])]


@pytest.mark.parametrize(('name', 'way', 'damage', 'pattern'), CASES, ids=[f'{way}: {name}' for name, way, *_ in CASES])
def test_checkpoint(name, way, damage, pattern, trained, tmp_path, monkeypatch, capsys):
    folder, whole = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    bad = Path('bad.pth')
    bad.write_bytes(damage(whole) if name in NOT_READ else changed(whole, damage))
    config = str(folder / 'tiny.py')
    pretrained = "model.backbone.init_cfg={'type':'Pretrained','checkpoint':'bad.pth','prefix':'backbone.'}"
    if way == 'Pretrained' and name == 'one NaN':
        pretrained = "model.head.init_cfg={'type':'Pretrained','checkpoint':'bad.pth','prefix':'head.'}"
    command = {
        'test': ['test', config, 'bad.pth'],
        'resume': ['train', config, '--resume', 'bad.pth'],
        'load_from': ['train', config, '--cfg-options', 'load_from=bad.pth'],
        'Pretrained': ['train', config, '--cfg-options', pretrained],
        'publish': ['publish', 'bad.pth', '--out', 'out.pth'],
        'export': ['export', config, 'bad.pth', '--out', 'out.onnx', '--shape', '1', '8', '8'],
    }[way]
    assert main(command) == 2
    message = capsys.readouterr().err.rpartition('error: ')[2]
    assert re.search(pattern, message), message
    assert message.count('\n') == 1 and len(message) < LONGEST
    assert not list(Path().rglob('epoch_*.pth')) and not list(Path().glob('out*'))


def test_masks_are_numbers():
    assert not_numbers({'mask': torch.tensor([0, -math.inf]), 'text': 'x', 'empty': torch.zeros(0)}) is None
    assert not_numbers({'half': torch.tensor([math.nan], dtype=torch.bfloat16)}).startswith('1 of 1 weights')


@pytest.fixture
def pictures(tmp_path):
    """The paths of pictures that cannot be read, and of a good one."""
    good = tmp_path / 'good.png'
    cv2.imwrite(str(good), np.random.RandomState(0).randint(0, 256, (32, 32, 3), np.uint8))
    whole = good.read_bytes()
    for name, content in {'cut': whole[: len(whole) // 2], 'empty': b'', 'text': b'hello'}.items():
        (tmp_path / f'{name}.png').write_bytes(content)
    (tmp_path / 'folder.png').mkdir()
    return tmp_path


class Listed(BaseDataset):
    """Pictures by their paths."""

    def __init__(self, paths, pipeline):
        self.paths = paths
        super().__init__(pipeline=pipeline)

    def load_data_list(self):
        return [{'img_path': str(path)} for path in self.paths]


def read(data):
    from mmcv.transforms import LoadImageFromFile

    return LoadImageFromFile()(data)['img'].shape


@pytest.mark.parametrize('workers', [0, 1])
def test_a_picture_that_cannot_be_read_is_named(pictures, workers):
    reasons = {
        'cut': 'not a picture, or was cut off',
        'empty': 'an empty file',
        'text': 'not a picture',
        'folder': 'a folder',
    }
    for name, reason in (reasons | {'gone': 'there is no'}).items() if not workers else [('cut', reasons['cut'])]:
        path = pictures / f'{name}.png'
        dataset = Listed([pictures / 'good.png', path], [read])
        name_pictures(dataset)
        started = iter(DataLoader(dataset, batch_size=None, num_workers=workers))
        assert list(next(started)) == [32, 32, 3]
        with (
            pytest.raises(LaunchError, match=re.escape(str(path))) as error,
            errors.explained(Config(), [], lambda: True),
        ):
            next(started)
        assert reason in str(error.value) and '\n' not in str(error.value)


def test_other_errors_of_a_pipeline_stay(pictures):
    dataset = Listed([pictures / 'good.png'], [lambda data: 1 / 0])
    name_pictures(dataset)
    with pytest.raises(ZeroDivisionError):
        dataset[0]


def test_a_classifier_with_a_damaged_picture(pictures, trained, tmp_path, monkeypatch, capsys):
    """It used to be reported as a file that is not there."""
    for name in 'ab':
        (tmp_path / 'data' / name).mkdir(parents=True)
        shutil.copy(pictures / ('good.png' if name == 'a' else 'cut.png'), tmp_path / 'data' / name / '1.png')
    pipeline = "[dict(type='LoadImageFromFile'), dict(type='PackInputs')]"
    data = f"data = dict(type='CustomDataset', data_root='data', pipeline={pipeline})"
    (tmp_path / 'pictures.py').write_text(re.sub('data = .*', data, TINY, count=1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    assert main(['train', 'pictures.py', '--work-dir', 'run']) == 2
    message = capsys.readouterr().err.rpartition('error: ')[2]
    assert re.match(r'data/b/1\.png is not a picture, or was cut off\. Replace it', message), message


@pytest.mark.parametrize('number', ['NaN', 'Infinity', '-Infinity'])
def test_a_box_that_is_no_number(number, tmp_path):
    boxes = [{'id': 7, 'image_id': 3, 'bbox': [1, 2, 3, 4]}, {'id': 8, 'image_id': 3, 'bbox': [1, 'HERE', 3, 4]}]
    text = json.dumps({'images': [{'id': 3, 'file_name': 'a, NaN, b: Infinity.png'}], 'annotations': boxes})
    path = tmp_path / 'train.json'
    loader = dict(
        dataset=dict(type='R', dataset=dict(type='CocoDataset', data_root=str(tmp_path), ann_file='train.json'))
    )
    cfg = Config(dict(train_dataloader=loader, val_dataloader=copy.deepcopy(loader)))
    path.write_text(text.replace('"HERE"', number))
    for part in ('train', 'val'):
        with pytest.raises(
            LaunchError, match=r'train\.json: annotations\.1\.bbox\.1 \(id 8, image_id 3\) is not a number'
        ):
            require_numbers(cfg, [part])
    require_numbers(cfg, ['test'])
    path.write_text(text.replace('"HERE"', '2.5'))
    require_numbers(cfg, ['train'])


def test_a_fuzz_of_annotations(tmp_path):
    """Whatever the file holds, the check accepts it or names the first value that is not a number."""
    generator, path = random.Random(0), tmp_path / 'train.json'
    cfg = Config(dict(train_dataloader=dict(dataset=dict(type='D', ann_file=str(path)))))

    def value(depth=0):
        leaf = [1, 0.5, math.nan, -math.inf, 'NaN', ', NaN', None, True, '\x1b']
        kind = generator.randrange(4 if depth < 3 else 2)
        if kind == 2:
            return [value(depth + 1) for _ in range(generator.randrange(4))]
        if kind == 3:
            return {generator.choice(['id', 'bbox', 'NaN', 'a.b']): value(depth + 1) for _ in range(3)}
        return generator.choice(leaf)

    refused = 0
    for _ in range(300):
        content = value()
        text = json.dumps(content)
        path.write_text(text[: generator.randrange(len(text))] if generator.random() < 0.1 else text)
        try:
            require_numbers(cfg, ['train'])
        except LaunchError as error:
            refused += 1
            assert len(str(error)) < 500
    assert 30 < refused < 200


@HOOKS.register_module(force=True)
class KillWorker(Hook):
    """Kills a worker of the training loader in its first iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        import multiprocessing
        import time

        multiprocessing.active_children()[0].kill()
        time.sleep(5)  # until the signal of its end, for which torch raises an error


def test_a_killed_worker(trained, tmp_path, monkeypatch, capsys):
    """For example by the system, which was short of memory."""
    folder, _ = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    options = ["custom_hooks=[{'type':'mmhoga.KillWorker'}]", 'train_dataloader.num_workers=1']
    options += ['train_dataloader.batch_size=1', 'train_dataloader.prefetch_factor=1']
    assert main(['train', str(folder / 'tiny.py'), '--work-dir', 'run', '--cfg-options', *options]) == 2
    message = capsys.readouterr().err.rpartition('error: ')[2]
    assert 'DataLoader worker' in message and 'num_workers' in message and 'The last checkpoint is none.' in message
    assert message.count('\n') == 1


def test_a_worker_that_was_killed_while_it_sent_a_batch(trained, tmp_path, monkeypatch, capsys):
    """Then the loader gets the error of its connection. One of another connection keeps its traceback."""
    folder, _ = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')

    def reset(*_):
        raise ConnectionResetError(104, 'Connection reset by peer')

    iterator = torch.utils.data.dataloader._MultiProcessingDataLoaderIter
    calls = iter([iterator._try_get_data])
    monkeypatch.setattr(iterator, '_try_get_data', lambda *arguments: next(calls, reset)(*arguments))
    options = ['--cfg-options', 'train_dataloader.num_workers=1', 'train_dataloader.batch_size=1']
    assert main(['train', str(folder / 'tiny.py'), '--work-dir', 'run', *options]) == 2
    message = capsys.readouterr().err.rpartition('error: ')[2]
    assert message.startswith('A DataLoader worker has ended (ConnectionResetError: ') and '--resume' in message
    with pytest.raises(ConnectionResetError) as caught:
        reset()
    assert fault('run', caught.value) is None

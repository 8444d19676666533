"""Every look and the report on work_dirs of networks trained with each host."""

import json

import cv2
import numpy as np
import pytest
import torch
from small_configs import CLASSIFIER, DETECTOR, PLUGIN, POSE

from mmhoga.cli.looks.features import selectivity_main, tsne_main
from mmhoga.cli.looks.images import attention_maps_main, grad_cam_main
from mmhoga.cli.looks.networks import load_network
from mmhoga.cli.train import train_main
from mmhoga.report.report import report_from_work_dirs

COLOURS = [(0, 0, 220), (0, 200, 0), (220, 60, 0)]  # of the three kinds of things
IMAGES = 9

COCO = """
def loader(training):
    dataset = dict(test_dataloader['dataset'])
    dataset.update(ann_file=FILE, data_prefix=dict(img=FOLDER), test_mode=not training, METAINFO)
    if training:
        dataset['pipeline'] = [*dataset['pipeline'][:-1], TARGETS dataset['pipeline'][-1]]
    return dict(batch_size=3, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=training))
train_dataloader, val_dataloader, test_dataloader = loader(True), loader(False), loader(False)
val_evaluator = test_evaluator = dict(type='CocoMetric', ann_file=FILE)
"""
SCHEDULE = """
train_cfg, val_cfg, test_cfg = dict(by_epoch=True, max_epochs=2), dict(), dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
randomness = dict(seed=0)
"""


@pytest.fixture(scope='module')
def things(tmp_path_factory):
    """A folder with nine images of one coloured rectangle each, with a box and five keypoints."""
    folder = tmp_path_factory.mktemp('things')
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(IMAGES):
        x, y, kind = *map(int, rng.integers(4, 24, 2)), number % 3
        pixels = np.full((60, 90, 3), 40, dtype=np.uint8)
        pixels[y : y + 30, x : x + 40] = COLOURS[kind]
        cv2.imwrite(str(folder / f'{number}.png'), pixels)
        images.append(dict(id=number, file_name=f'{number}.png', width=90, height=60))
        corners = [(x, y), (x + 40, y), (x, y + 30), (x + 40, y + 30), (x + 20, y + 15)]
        annotations.append(
            dict(
                id=number + 1, image_id=number, category_id=kind + 1, bbox=[x, y, 40, 30], area=1200, iscrowd=0,
                keypoints=[value for corner in corners for value in (*corner, 2)], num_keypoints=5,
            )
        )  # fmt: skip
    categories = [dict(id=kind + 1, name=name) for kind, name in enumerate('abc')]
    for name, only in (('boxes', 3), ('poses', 1)):
        chosen = [{**one, 'category_id': min(one['category_id'], only)} for one in annotations]
        text = json.dumps(dict(images=images, annotations=chosen, categories=categories[:only]))
        (folder / f'{name}.json').write_text(text)
    return folder


def host_config(host, things):
    if host == 'mmpretrain':
        train = """
def loader(training):
    sampler = dict(type='DefaultSampler', shuffle=training)
    return dict(batch_size=32, num_workers=0, sampler=sampler, dataset=dataset)
train_dataloader, val_dataloader, test_dataloader = loader(True), loader(False), loader(False)
val_evaluator = test_evaluator = dict(type='Accuracy')
"""
        return CLASSIFIER.replace('INDICES', '120').replace('PLUGINS', PLUGIN) + train + SCHEDULE
    keypoints = {number: dict(name=str(number), id=number, color=[0, 0, 0], type='', swap='') for number in range(5)}
    pose_info = dict(dataset_name='squares', paper_info={}, keypoint_info=keypoints, skeleton_info={},
                     joint_weights=[1.0] * 5, sigmas=[0.1] * 5)  # fmt: skip
    config, file, metainfo, targets = {
        'mmdet': (DETECTOR, 'boxes.json', "metainfo=dict(classes=('a', 'b', 'c'))", ''),
        'mmpose': (POSE, 'poses.json', f'metainfo={pose_info}', "dict(type='GenerateTarget', encoder=codec),"),
    }[host]
    data = COCO.replace('FILE', repr(str(things / file))).replace('FOLDER', repr(f'{things}/'))
    return config + data.replace('METAINFO', metainfo).replace('TARGETS', targets) + SCHEDULE


METRICS = {'mmpretrain': 'accuracy/top1', 'mmdet': 'coco/bbox_mAP', 'mmpose': 'coco/AP'}


@pytest.fixture(scope='module', params=METRICS)
def trained(request, things, tmp_path_factory):
    """(host, work_dir) of a training of two epochs."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / 'toy.py').write_text(host_config(request.param, things))
    assert train_main([str(folder / 'toy.py'), '--work-dir', str(folder / 'run')]) == 0
    return request.param, folder / 'run'


def test_every_look(trained, tmp_path):
    host, work_dir = trained
    model, device = ['--model', host, str(work_dir)], ['--device', 'cpu']

    def numbers(name):
        with np.load(tmp_path / f'{name}.npz') as arrays:
            return dict(arrays), json.loads((tmp_path / f'{name}.json').read_text())

    assert grad_cam_main([*model, '--samples', '0', '1', *device, '--out', str(tmp_path / 'cam.png')]) == 0
    arrays, _ = numbers('cam')
    assert np.abs(arrays[f'{host}/guided/1']).max() > 0
    assert arrays[f'{host}/grad_cam/1'].shape == arrays['image/1'].shape[:2]

    assert attention_maps_main([str(work_dir), '--samples', '0', *device, '--out', str(tmp_path / 'gates.png')]) == 0
    arrays, facts = numbers('gates')
    assert facts['cell'] == 'backbone.layer1.0.hoga'
    assert len([name for name in arrays if name.startswith('gate/')]) == 10

    if host == 'mmpose':  # all its samples are of one kind
        return
    assert selectivity_main([*model, *device, '--out', str(tmp_path / 'select.png')]) == 0
    arrays, facts = numbers('select')
    assert facts['results'][0]['images'] == {'mmpretrain': 120, 'mmdet': IMAGES}[host]
    index = arrays[f'{host}/backbone.layer1/selectivity']
    assert ((index >= 0) & (index <= 1)).all() and index.max() > 0
    assert tsne_main([*model, *device, '--perplexity', '3', '--out', str(tmp_path / 'tsne.png')]) == 0
    assert numbers('tsne')[0]['labels'].max() == {'mmpretrain': 9, 'mmdet': 2}[host]


def test_the_report_has_the_metric_of_the_host(trained, tmp_path):
    host, work_dir = trained
    shape = (1, 8, 8) if host == 'mmpretrain' else (3, 64, 96)
    path = report_from_work_dirs(tmp_path / 'r.html', networks={host: [work_dir]}, shape=shape)
    text = path.read_text()
    assert 'could not be' not in text
    (network,) = json.loads(path.with_suffix('.json').read_text())['networks']
    assert network['macs'] > network['parameters'] > 1000
    (run,) = network['runs']
    assert METRICS[host] in run['final'] and len(run['losses']['loss']['mean']) == 2
    assert run['environment']['PyTorch'] == torch.__version__
    assert 'Environment of the runs' in text


def test_a_loaded_model_has_all_weights_of_its_checkpoint(trained):
    """Every saved tensor is loaded."""
    _, work_dir = trained
    network = load_network([str(work_dir)])
    saved = torch.load(network.checkpoint, weights_only=False)['state_dict']
    assert list(saved) == list(network.model.state_dict())
    assert all(torch.equal(saved[name], tensor) for name, tensor in network.model.state_dict().items())

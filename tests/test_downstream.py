"""mmhoga in a user's own config, outside this repository, with the host's own Runner and train script."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from warm_python import warm_python

from mmhoga.datasets.synthetic.coco_files import Recipe, write_coco

pytest.importorskip('mmdet')

CONFIG = """
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
model = dict(backbone=dict(
    plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), stages=(True,) * 4, position='after_conv2')]))
"""

# Nothing here names mmhoga. The settings allow for a single image and no network.
SCRIPT = """
from mmengine.config import Config
from mmengine.runner import Runner

cfg = Config.fromfile('my_faster_rcnn.py')
cfg.work_dir = 'work_dir'
cfg.model.backbone.init_cfg = None
data = cfg.train_dataloader
data.update(num_workers=0, persistent_workers=False, batch_size=1)
data.dataset.update(data_root='', ann_file='coco.json', data_prefix=dict(img=''), metainfo=dict(classes=('person',)))
next(step for step in data.dataset.pipeline if step.type == 'Resize').scale = (96, 64)
cfg.train_cfg.max_epochs = 2  # zero_init_residual: HOGA learns from the second step on
for part in ('val', 'test'):
    cfg[f'{part}_cfg'] = cfg[f'{part}_dataloader'] = cfg[f'{part}_evaluator'] = None
runner = Runner.from_cfg(cfg)
cells = [module for module in runner.model.modules() if type(module).__name__ == 'HOGA']
runner.train()
moved = sum(cell.phi[1].bias.any().item() for cell in cells)  # zero until a gradient moves it
print('RESULT', type(runner.model.backbone).__module__, len(cells), moved, runner.iter)
"""


def test_the_snippet_in_mmdets_own_faster_rcnn(tmp_path):
    cv2.imwrite(str(tmp_path / 'one.jpg'), np.random.RandomState(0).randint(0, 255, (64, 96, 3), np.uint8))
    annotation = dict(id=1, image_id=1, category_id=1, bbox=[10, 10, 40, 40], area=1600, iscrowd=0)
    coco = dict(
        images=[dict(id=1, file_name='one.jpg', width=96, height=64)],
        annotations=[annotation],
        categories=[dict(id=1, name='person')],
    )
    (tmp_path / 'coco.json').write_text(json.dumps(coco))
    (tmp_path / 'my_faster_rcnn.py').write_text(CONFIG)
    run = subprocess.run([warm_python(), '-c', SCRIPT], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    result = next(line for line in run.stdout.splitlines() if line.startswith('RESULT')).split()
    # mmdet's own ResNet; 16 blocks. Its frozen stem and first stage (3 blocks) do not move.
    assert result[1:] == ['mmdet.models.backbones.resnet', '16', '13', '2']


# A user's config: the host's own config, the snippet of the README, other data and fewer epochs. mmcv-lite needs
# custom_imports; with a compiled mmcv the line can be removed.
USERS = {
    'mmdet': """
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmhoga'])
classes = dict(classes=('disc', 'square', 'triangle'))
model = dict(
    backbone=dict(
        init_cfg=None,
        plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), stages=(True,) * 4, position='after_conv2')],
    ),
    roi_head=dict(bbox_head=dict(num_classes=3)),
)
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (96, 96)
files = dict(data_root='data/shapes/', ann_file='annotations/instances_train.json', data_prefix=dict(img='train/'))
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(metainfo=classes, **files))
train_dataloader['dataset']['pipeline'] = train_pipeline
train_cfg = dict(max_epochs=1)
val_cfg = val_dataloader = val_evaluator = None
""",
    'mmpretrain': """
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
model = dict(
    backbone=dict(
        type='mmhoga.ResNet',
        plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), stages=(True,) * 4, position='after_conv2')],
    ),
    head=dict(num_classes=3, topk=(1,)),
)
data_preprocessor = dict(num_classes=3)
dataset = dict(
    _delete_=True,
    type='mmhoga.CocoCrops',
    data_root='data/shapes/',
    ann_file='annotations/instances_train.json',
    data_prefix=dict(img_path='train/'),
    pipeline=[dict(type='PackInputs')],
)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, drop_last=True, dataset=dataset)
train_cfg = dict(max_epochs=1)
val_cfg = val_dataloader = val_evaluator = None
""",
    'mmpose': """
_base_ = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py'
custom_imports = dict(imports=['mmhoga'])
model = dict(
    backbone=dict(
        type='mmhoga.ResNet',
        init_cfg=None,
        plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), stages=(True,) * 4, position='after_conv2')],
    )
)
files = dict(
    data_root='data/people/', ann_file='annotations/person_keypoints_train.json', data_prefix=dict(img='train/')
)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=files)
train_cfg = dict(max_epochs=1)
val_cfg = val_dataloader = val_evaluator = None
default_hooks = dict(checkpoint=dict(interval=1, save_best=None))
""",
}


@pytest.mark.parametrize('host', USERS)
def test_a_users_config_in_the_hosts_own_train_script(host, tmp_path):
    pytest.importorskip(host)
    for kind in ('shapes', 'people'):
        write_coco(tmp_path / 'data' / kind, Recipe(kind, train=2, val=1, size=96))
    (tmp_path / 'mine.py').write_text(USERS[host] + 'randomness = dict(seed=0)\n')
    script = Path(importlib.util.find_spec(host).origin).parent / '.mim' / 'tools' / 'train.py'
    run = subprocess.run(
        [warm_python(), script, 'mine.py', '--work-dir', 'out'],
        cwd=tmp_path,
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': '-1'},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    weights = torch.load(tmp_path / 'out' / 'epoch_1.pth', weights_only=True)['state_dict']
    cells = {key.partition('.hoga.')[0] for key in weights if '.hoga.' in key}
    assert len(cells) == (8 if host == 'mmpretrain' else 16)  # the blocks of ResNet-18 and of ResNet-50
    assert all(torch.isfinite(value).all() for value in weights.values())

"""As a user of a host meets mmhoga: a config of their own, outside this repository, and the host's own Runner."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip('mmdet')

CONFIG = """
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
model = dict(backbone=dict(
    plugins=[dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), stages=(True,) * 4, position='after_conv2')]))
"""

# Nothing here names mmhoga. What is set is what one image and no network demand.
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
    run = subprocess.run([sys.executable, '-c', SCRIPT], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    result = next(line for line in run.stdout.splitlines() if line.startswith('RESULT')).split()
    # mmdet's own ResNet; 16 blocks. Its frozen stem and first stage (3 blocks) do not move.
    assert result[1:] == ['mmdet.models.backbones.resnet', '16', '13', '2']

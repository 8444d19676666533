"""mmdet's own detectors train and predict with the stand-in."""

import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

pytest.importorskip('mmdet')
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules

SIZE = 64


def sample(size, with_masks):
    boxes = torch.tensor([[8.0, 10.0, 40.0, 50.0], [30.0, 20.0, 60.0, 58.0]])
    instances = InstanceData(bboxes=boxes, labels=torch.tensor([3, 17]))
    if with_masks:
        masks = torch.zeros(2, size, size, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist()):
            mask[y1:y2, x1:x2] = 1
        instances.masks = BitmapMasks(masks.numpy(), size, size)
    meta = dict(img_shape=(size, size), ori_shape=(size, size), batch_input_shape=(size, size), scale_factor=(1.0, 1.0))
    return DetDataSample(metainfo=dict(meta, pad_shape=(size, size), img_id=0), gt_instances=instances)


@pytest.mark.parametrize(
    ('config', 'size'),
    [
        ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', SIZE),
        ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', SIZE),
        ('retinanet/retinanet_r50_fpn_1x_coco.py', SIZE),
        ('ssd/ssd300_coco.py', 300),  # its anchors fit this size only
    ],
)
def test_one_step_and_one_prediction(config, size):
    register_all_modules(init_default_scope=False)
    init_default_scope('mmdet')
    model_config = get_config(f'mmdet::{config}').model
    model_config.backbone.init_cfg = None
    if 'roi_head' in model_config:
        model_config.train_cfg.rpn_proposal.max_per_img = model_config.test_cfg.rpn.max_per_img = 50
        model_config.test_cfg.rcnn.score_thr = 0.0  # so that an untrained model finds something
    else:
        model_config.test_cfg.score_thr = 0.0
    model = MODELS.build(model_config)
    model.init_weights()
    with_masks = model.with_mask
    image, data_sample = torch.randn(1, 3, size, size), sample(size, with_masks)

    loss, logged = model.parse_losses(model.loss(image, [data_sample]))
    loss.backward()

    assert torch.isfinite(loss) and len(logged) > 1
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert any(name.startswith('backbone') and gradient.any() for name, gradient in gradients.items())

    model.eval()
    with torch.no_grad():
        (result,) = model.predict(image, [data_sample], rescale=False)
    found = result.pred_instances
    assert len(found) > 0
    assert torch.isfinite(found.bboxes).all()
    assert (found.scores[:-1] >= found.scores[1:]).all()
    if with_masks:
        assert found.masks.shape == (len(found), size, size)


def test_a_subclass_of_ssd_head_keeps_its_loss_cls():
    from mmdet.models.dense_heads import SSDHead

    class WithLoss(SSDHead):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.loss_cls = torch.nn.Identity()

    head = WithLoss()
    assert isinstance(head.loss_cls, torch.nn.Identity)
    del head.loss_cls
    assert head.loss_cls is None

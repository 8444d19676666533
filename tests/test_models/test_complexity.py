"""mmhoga.models.complexity, compared with closed forms."""

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from mmhoga.models.complexity import Complexity, count, count_parts

H, W = 10, 6


@pytest.mark.parametrize(
    ('layer', 'expected'),
    [
        (nn.Conv2d(8, 12, 3, padding=1), Complexity(12 * 8 * 9 + 12, 12 * 8 * 9 * H * W)),
        (nn.Conv2d(8, 12, 3, padding=1, groups=4), Complexity(12 * 2 * 9 + 12, 12 * 2 * 9 * H * W)),
        (nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8), Complexity(8 * 9 + 8, 8 * 9 * H * W)),
        (nn.Conv2d(8, 12, 1, stride=2, bias=False), Complexity(12 * 8, 12 * 8 * H * W // 4)),
        (nn.ConvTranspose2d(8, 12, 2, stride=2, bias=False), Complexity(8 * 12 * 4, 8 * 12 * 4 * H * W)),
        (nn.BatchNorm2d(8), Complexity(2 * 8, 2 * 8 * H * W)),
        (nn.BatchNorm2d(8, affine=False), Complexity(0, 8 * H * W)),
        (nn.AdaptiveAvgPool2d(1), Complexity(0, 8 * H * W)),
        (nn.ReLU(), Complexity(0, 0)),
    ],
)
def test_layers(layer, expected):
    assert count(layer, (8, H, W)) == expected


def test_linear():
    assert count(nn.Linear(16, 5), (16,)) == Complexity(16 * 5 + 5, 16 * 5)


class Toy(BaseModel):
    """A model with the call of the hosts; as in mmpose, ``data_samples`` has no default."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Dropout())
        self.head = nn.Linear(4, 2)
        self.backbone[1].eval()  # as norm_eval does

    def forward(self, inputs, data_samples, mode='loss'):
        assert mode == 'tensor'
        assert not self.training
        assert data_samples[0].img_shape == tuple(inputs.shape[-2:])
        return self.head(self.backbone(inputs).mean((2, 3)))


def test_model_and_its_parts():
    model = Toy()
    parts = count_parts(model, (3, 5, 5))
    assert parts['head'] == Complexity(10, 8)
    assert parts['backbone'] == Complexity(3 * 4 * 9 + 8, 3 * 4 * 9 * 9 + 2 * 4 * 9)
    assert parts[''] == count(model, (3, 5, 5))
    assert parts[''].macs == parts['head'].macs + parts['backbone'].macs
    assert parts[''].params == parts['head'].params + parts['backbone'].params


@pytest.mark.parametrize('shape', [(3, 5, 5), (2, 5, 5)], ids=['counted', 'raised'])
def test_model_is_left_as_it_was(shape):
    model = Toy()
    training = [module.training for module in model.modules()]
    statistics = model.backbone[1].running_mean.clone()
    try:
        count(model, shape)
    except RuntimeError:
        assert shape[0] == 2
    assert [module.training for module in model.modules()] == training
    assert 'forward' not in vars(model)
    assert torch.equal(model.backbone[1].running_mean, statistics)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_shared_parameters_count_once():
    layer = nn.Linear(4, 4, bias=False)
    assert count(nn.Sequential(layer, layer), (4,)) == Complexity(16, 32)

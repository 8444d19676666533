"""Small networks for tests."""

import torch
from torch import nn

from mmhoga.models import HOGA


class Net(nn.Module):
    """Two stages, one shared in-place ReLU, a linear head; ``fail`` makes the forward raise after the stages."""

    def __init__(self, fail=False, attention=None):
        super().__init__()
        self.stage1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.attention = attention or nn.Identity()
        self.stage2 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.head = nn.Linear(12, 5)
        self.fail = fail

    def forward(self, x):
        x = self.attention(self.relu(self.norm(self.stage1(x))))
        x = self.relu(self.stage2(x))
        if self.fail:
            raise RuntimeError('the model raises')
        return self.head(x.mean((2, 3)))


def hoga_net(**kwargs):
    return Net(attention=HOGA(8, genotype='autola'), **kwargs)


def in_use(model):
    """A model in the middle of training, with mixed modes, a frozen weight, gradients and statistics."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name != 'stage1.weight'
        parameter.grad = torch.full_like(parameter, 0.5)
    model.train()
    model.norm.eval()
    return model


def state(model):
    """Everything that must stay unchanged."""
    return {
        'modes': [module.training for module in model.modules()],
        'hooks': [
            len(hooks)
            for module in model.modules()
            for hooks in (
                module._forward_hooks,
                module._forward_pre_hooks,
                module._backward_hooks,
                module._backward_pre_hooks,
            )
        ],
        'attributes': [sorted(vars(module)) for module in model.modules()],
        'frozen': [parameter.requires_grad for parameter in model.parameters()],
        'gradients': [parameter.grad.clone() for parameter in model.parameters()],
        'identity': [id(parameter.grad) for parameter in model.parameters()],
        'weights': [tensor.clone() for tensor in model.state_dict().values()],
    }


def assert_same(before, after):
    for key, value in before.items():
        if value and isinstance(value[0], torch.Tensor):
            assert all(torch.equal(a, b) for a, b in zip(value, after[key])), key
        else:
            assert value == after[key], key

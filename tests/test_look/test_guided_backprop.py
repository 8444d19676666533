import pytest
import torch
import torch.nn.functional as F
from captum import attr as captum
from small_networks import Net
from torch import nn

from mmhoga.look.guided_backprop import guided_backprop
from mmhoga.models import HOGA

RELUS = {
    'module': nn.ReLU(),
    'module in place': nn.ReLU(inplace=True),
    'method': lambda x: x.relu(),
    'method in place': lambda x: x.relu_(),
    'F.relu': F.relu,
    'F.relu in place': lambda x: F.relu(x, inplace=True),
    'F.relu by name': lambda x: F.relu(input=x, inplace=True),
    'torch.relu': torch.relu,
}


@pytest.mark.parametrize('relu', RELUS.values(), ids=RELUS)
def test_by_hand(relu):
    """x = (1, 2, 3); hidden A x = (-1, 4, 5, 1); scores W relu(A x)."""
    a = torch.tensor([[1.0, -1, 0], [1, 0, 1], [0, 1, 1], [0, -1, 1]])
    w = torch.tensor([[2.0, 3, -1, 5], [1, -2, 4, 1]])
    x = torch.tensor([[1.0, 2, 3]])

    class Model(nn.Module):
        def forward(self, x):
            return relu(x.flatten(1) @ a.t()) @ w.t()

    # In the rows of w, the first entry meets a negative hidden value and negative entries are dropped.
    # Class 0: 3 (1, 0, 1) + 5 (0, -1, 1) = (3, -5, 8). Class 1: 4 (0, 1, 1) + 1 (0, -1, 1) = (0, 3, 5).
    image = x.view(1, 3, 1, 1)
    assert guided_backprop(Model(), image, [0]).flatten().tolist() == [3, -5, 8]
    assert guided_backprop(Model(), image, [1]).flatten().tolist() == [0, 3, 5]


def test_in_place_means_in_place():
    """A network may use the tensor that its in-place ReLU changed."""

    class Model(nn.Module):
        def forward(self, x):
            x = x * 1
            F.relu_(x)
            return x.sum((2, 3))

    x = torch.tensor([-1.0, 2.0]).view(1, 2, 1, 1)
    assert guided_backprop(Model(), x, [0]).flatten().tolist() == [0, 0]
    assert guided_backprop(Model(), x, [1]).flatten().tolist() == [0, 1]


def test_equals_captum_where_every_relu_is_a_module():
    model = Net().eval()
    x, classes = torch.randn(3, 3, 8, 8), torch.tensor([0, 4, 2])
    expected = captum.GuidedBackprop(model).attribute(x, target=classes)
    torch.testing.assert_close(guided_backprop(model, x, classes), expected.detach())


def test_captum_misses_the_relus_of_hoga():
    """The reason not to use captum. If this fails, captum can replace our implementation."""
    model = nn.Sequential(HOGA(32, genotype='hog_se'), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    x, classes = torch.rand(3, 32, 8, 8), torch.tensor([0, 4, 2])
    theirs = captum.GuidedBackprop(model).attribute(x, target=classes).detach()
    assert not torch.allclose(guided_backprop(model, x, classes), theirs)


def test_a_class_out_of_range():
    with pytest.raises(ValueError, match='no class 9'):
        guided_backprop(Net(), torch.randn(1, 3, 8, 8), [9])

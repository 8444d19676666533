"""The steps of a search on a model in channels_last."""

import copy

import pytest
import torch

from mmhoga.search import SearchModel


@pytest.mark.parametrize('num_groups', [1, 2, 4])
def test_the_gradients_are_those_of_the_other_format(toy, num_groups):
    """``model.to(memory_format=...)`` also changes the strides of the weights."""
    model = SearchModel(toy(num_groups=num_groups)).double().train()
    x, labels = torch.rand(4, 1, 8, 8, dtype=torch.float64), torch.arange(4)
    gradients = []
    for memory in (torch.contiguous_format, torch.channels_last):
        own = copy.deepcopy(model).to(memory_format=memory)
        with own.differentiating_alpha() as alphas:
            loss = own(x.contiguous(memory_format=memory), labels, mode='loss')['loss']
            gradients.append(torch.autograd.grad(loss, [*alphas, own.architecture.stem.weight]))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
    assert all(gradient.abs().max() > 0 for gradient in gradients[0])

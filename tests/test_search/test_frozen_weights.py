"""The context in which the weights require no gradient."""

import torch

from mmhoga.search import SearchModel


def test_weights_are_frozen_inside_the_context_only(toy):
    model = SearchModel(toy())
    model.architecture.fc.bias.requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        with model.differentiating_alpha() as (alpha,), model.frozen_weights():
            wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
            assert len(wanted) == 1 and wanted[0] is alpha
            raise RuntimeError
    except RuntimeError:
        pass
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before


def test_alphas_gradient_is_the_same(toy):
    model = SearchModel(toy()).double()
    batch = torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.arange(4)
    gradients = []
    for frozen in (True, False):
        with model.differentiating_alpha() as (alpha,):
            if frozen:
                with model.frozen_weights():
                    loss = model(*batch, mode='loss')['loss']
            else:
                loss = model(*batch, mode='loss')['loss']
            gradients += torch.autograd.grad(loss, [alpha])
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)

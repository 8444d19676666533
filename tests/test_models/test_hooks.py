"""Hooks and other changes are undone afterwards, also when the model raises."""

import pytest
import torch
from small_networks import assert_same, hoga_net, in_use, state

from mmhoga.look.attention_maps import attention_maps
from mmhoga.look.grad_cam import grad_cam
from mmhoga.look.guided_backprop import guided_backprop
from mmhoga.look.outputs import as_maps
from mmhoga.models.hooks import captured, find_layer, hooked, undisturbed

LOOKS = {
    'grad_cam': lambda model, x: grad_cam(model, x, 'stage2', [1, 2]),
    'guided_backprop': lambda model, x: guided_backprop(model, x, [1, 2]),
    'attention_maps': lambda model, x: attention_maps(model, x, 'attention', model),
}


@pytest.mark.parametrize('look', LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize('fail', [False, True], ids=['runs', 'raises'])
def test_a_model_is_restored(look, fail):
    model = in_use(hoga_net(fail=fail))
    before = state(model)
    x = torch.randn(2, 3, 8, 8)
    kept = x.clone()
    if fail:
        with pytest.raises(RuntimeError, match='the model raises'):
            look(model, x)
    else:
        look(model, x)
    assert_same(before, state(model))
    assert torch.equal(x, kept) and not x.requires_grad
    assert torch.equal(torch.relu(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))


def test_the_comparison_detects_changes():
    """Without the context the same use changes the model."""
    model = in_use(hoga_net())
    before = state(model)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    with pytest.raises(AssertionError, match='gradients'):
        assert_same(before, state(model))
    model.stage2.register_forward_hook(lambda *_: None)
    assert before['hooks'] != state(model)['hooks']


def test_backward_inside_does_not_change_existing_gradients():
    model = in_use(hoga_net())
    before = state(model)
    with undisturbed(model):
        model(torch.randn(2, 3, 8, 8)).sum().backward()
        assert model.head.weight.grad is not None
    assert_same(before, state(model))


def test_a_hook_that_cannot_be_registered_removes_the_others():
    model = in_use(hoga_net())
    before = state(model)
    with pytest.raises(AttributeError), hooked([(model.stage1, print), (None, print)]):
        pass
    assert_same(before, state(model))


def test_an_in_place_relu_does_not_change_a_captured_output():
    model = hoga_net().eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad(), captured(model, ['norm', 'stage2']) as outputs:
        model(x)
    torch.testing.assert_close(outputs['norm'], model.norm(model.stage1(x)))
    assert (outputs['norm'] < 0).any() and (outputs['stage2'] < 0).any()


def test_capturing_does_not_change_the_result():
    model = hoga_net().eval()
    x = torch.randn(2, 3, 8, 8)
    expected = model(x)
    with captured(model, ['stage1', 'norm', 'relu', 'attention']):
        torch.testing.assert_close(model(x), expected, rtol=0, atol=0)


def test_a_layer_that_does_not_exist():
    with pytest.raises(ValueError, match=r"Net has no layer 'stage3'. Similar names: stage2, stage1\b"):
        find_layer(hoga_net(), 'stage3')
    with pytest.raises(ValueError, match=r'Similar names: .*attention\.edges\.o_0_1'):
        find_layer(hoga_net(), 'o_0_1')
    with pytest.raises(ValueError, match=r'It has: stage1, norm, relu'):
        find_layer(hoga_net(), 'xxxxxxxxxxxxxxxxxxxxxxxx')
    with pytest.raises(ValueError, match='has no layer'):
        find_layer(hoga_net(), '')


def test_outputs_as_maps():
    tokens = torch.arange(2 * 10 * 4.0).view(2, 10, 4)
    maps = as_maps(tokens)
    assert maps.shape == (2, 4, 3, 3)
    assert torch.equal(maps[1, :, 2, 1], tokens[1, 1 + 7])  # after the class token, row 2, column 1
    assert as_maps(torch.zeros(2, 4)).shape == (2, 4, 1, 1)
    with pytest.raises(ValueError, match=r'backbone.x returns a tensor of shape \(2, 8, 4\)'):
        as_maps(torch.zeros(2, 8, 4), 'backbone.x')

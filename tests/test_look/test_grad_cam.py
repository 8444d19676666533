import pytest
import torch
import torch.nn.functional as F
from captum import attr as captum
from small_networks import Net, hoga_net
from torch import nn

from mmhoga.look.grad_cam import grad_cam
from mmhoga.look.outputs import class_scores, proposal_scores, upsample


@pytest.mark.parametrize('layer', ['stage1', 'norm', 'attention', 'stage2'])
def test_equals_captum(layer):
    model = hoga_net().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, classes = torch.randn(4, 3, 9, 9), [4, 0, 2, 2]
    reference = captum.LayerGradCam(model, model.get_submodule(layer))
    expected = reference.attribute(x, target=classes, relu_attributions=True).squeeze(1).detach()
    actual = grad_cam(model, x, layer, classes)
    assert actual.shape == expected.shape
    assert (actual >= 0).all() and actual.max() > 1e-4
    torch.testing.assert_close(actual, expected)


def test_closed_form_of_global_pooling_and_a_linear_head():
    """The weights are then those of the head divided by the number of positions (CAM)."""
    model = Net().eval()
    with torch.no_grad():
        maps = model.relu(model.stage2(model.relu(model.norm(model.stage1(x := torch.randn(2, 3, 8, 8))))))
    expected = F.relu(torch.einsum('c,nchw->nhw', model.head.weight[3], maps) / maps[0, 0].numel())
    actual = grad_cam(model, x, 'relu', [3, 3])  # the last of its two calls counts
    torch.testing.assert_close(actual, expected.detach())


def test_the_default_is_the_predicted_class():
    model, x = Net().eval(), torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(grad_cam(model, x, 'stage2'), grad_cam(model, x, 'stage2', model(x).argmax(1)))


def test_frozen_weights_do_not_matter():
    model, x = hoga_net(), torch.randn(1, 3, 8, 8)
    expected = grad_cam(model, x, 'stage1', [0])
    model.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(grad_cam(model, x, 'stage1', [0]), expected)


def test_bad_input():
    model, x = Net(), torch.randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match='There is no class 5: this model has the classes 0 to 4'):
        grad_cam(model, x, 'stage2', [0, 5])
    with pytest.raises(ValueError, match='There is no class -1'):
        grad_cam(model, x, 'stage2', [-1, 0])
    with pytest.raises(ValueError, match='one class per image'):
        grad_cam(model, x, 'stage2', [0])
    with pytest.raises(ValueError, match='does not depend'):
        grad_cam(model, x, 'stage2', [0, 0], scores=lambda x: (model(x), x.mean((2, 3)))[1])


def test_class_scores_of_pose_models_and_one_stage_detectors():
    heatmaps = torch.zeros(2, 3, 4, 4)
    heatmaps[1, 2, 3, 1] = 7
    assert class_scores(heatmaps).tolist() == [[0, 0, 0], [0, 0, 7]]
    levels = [torch.zeros(1, 2 * 3, 4, 4), torch.zeros(1, 2 * 3, 2, 2)]  # 2 anchors, 3 classes
    levels[0][0, 3 + 1, 2, 2], levels[1][0, 2, 0, 0] = 5, 4
    assert class_scores((levels, [torch.zeros(1, 8, 4, 4)]), 3).tolist() == [[0, 5, 4]]
    with pytest.raises(ValueError, match='no scores per class'):
        class_scores((torch.zeros(100, 4), torch.zeros(100, 12)))


def test_class_scores_of_two_stage_detectors():
    """The maximum over the proposals without the background; the last stage of a cascade."""
    scores, boxes = torch.tensor([[1.0, 2, 9], [4, -1, 9]]), torch.zeros(2, 8)  # 2 proposals, 2 classes, background
    assert proposal_scores(((scores, boxes),), 2).tolist() == [[4, 2]]
    assert proposal_scores(((scores[:, :2], boxes),), 2).tolist() == [[4, 2]]  # sigmoid: no background
    stages = [[torch.zeros(2, 3)], [scores]]
    assert proposal_scores(((stages, [[boxes], [boxes]]),), 2).tolist() == [[4, 2]]
    with pytest.raises(ValueError, match='proposes no region'):
        proposal_scores(((scores[:0], boxes[:0]),), 2)
    with pytest.raises(ValueError, match='no scores per class'):
        proposal_scores((boxes,), 2)


def test_a_layer_whose_class_token_alone_reaches_the_head():
    """As in the last block of a vision transformer, where Grad-CAM would be black."""

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            tokens = self.first(x.flatten(2).transpose(1, 2))
            tokens = torch.cat((tokens.mean(1, keepdim=True), tokens), 1)
            return self.head(self.last(tokens)[:, 0])

    model, x = Transformer(), torch.randn(1, 4, 3, 3)
    assert grad_cam(model, x, 'first', [0]).shape == (1, 3, 3)
    with pytest.raises(ValueError, match="only on the class token of the layer 'last'"):
        grad_cam(model, x, 'last', [0])


def test_upsampling_is_bilinear_between_pixel_centres():
    maps = torch.tensor([[[0.0, 1.0]]])
    torch.testing.assert_close(upsample(maps, (1, 4)), torch.tensor([[[0.0, 0.25, 0.75, 1.0]]]))

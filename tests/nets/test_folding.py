import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from galaxysegment.nets.common._folding import folded
from galaxysegment.nets.detr._published import PublishedDetr
from galaxysegment.nets.mask_rcnn._backbones import make_backbone
from galaxysegment.nets.unet._foreign import ForeignModule
from galaxysegment.nets.unet._module import UNet
from galaxysegment.segmenters import UNetSegmenter
from galaxysegment.testing import make_images

X, Y = make_images(2)


def with_statistics(module):
    """Give normalizations statistics, gains and shifts that differ from the first ones."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values in (norm.weight.data, norm.running_var):
                values.copy_(torch.rand(len(values), generator=generator) + 0.5)
            for values in (norm.bias.data, norm.running_mean):
                values.copy_(torch.randn(len(values), generator=generator))
    return module.eval()


def count_normalizations(module):
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def test_a_folded_unet_gives_the_same_logits():
    net = with_statistics(UNet(n_bands=2, base_width=4, depth=3))
    ready, image = folded(net), torch.randn(1, 2, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(ready(image), net(image), atol=2e-5, rtol=1e-4)
    assert count_normalizations(ready) == 0


def test_the_module_itself_stays_as_it_is():
    net = with_statistics(UNet(base_width=2, depth=2))
    before = copy.deepcopy(net.state_dict())
    folded(net)
    assert count_normalizations(net) == 6
    torch.testing.assert_close(net.state_dict(), before)
    assert all(weight.requires_grad for weight in net.parameters())


def test_folding_copies_no_weight_that_stays_and_draws_no_random_number():
    net = with_statistics(UNet(base_width=2, depth=2))
    state = torch.get_rng_state()
    ready = folded(net)
    assert torch.equal(torch.get_rng_state(), state)
    assert ready.head.weight is net.head.weight
    assert ready.upsamplers[0].weight is net.upsamplers[0].weight
    assert ready.encoder[0][0].weight is not net.encoder[0][0].weight


@pytest.mark.parametrize("name", ["resnet10", "resnet50"])
def test_a_folded_pyramid_gives_the_same_maps(name):
    backbone = with_statistics(make_backbone(name, channels=16))
    backbone.foldable = True
    ready, image = folded(backbone), torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        pairs = zip(ready(image).values(), backbone(image).values(), strict=True)
        for ours, plain in pairs:
            torch.testing.assert_close(ours, plain, atol=1e-4 * float(plain.abs().max()), rtol=0)
    assert count_normalizations(ready) == 0


def test_a_folded_backbone_of_transformers_gives_the_same_maps():
    net = with_statistics(PublishedDetr(d_model=32, n_queries=4))
    ready, image = folded(net), torch.randn(1, 1, 32, 32)
    frame = torch.ones(1, 32, 32)
    with torch.no_grad():
        pairs = zip(
            *(part.model.detr.model.backbone(image, frame) for part in (ready, net)), strict=True
        )
        for (ours, _), (plain, _) in pairs:
            torch.testing.assert_close(ours, plain, atol=1e-4 * float(plain.abs().max()), rtol=0)
    assert count_normalizations(ready) == 0


class Backwards(nn.Sequential):
    """A module of a user, whose layers run in another order than they are defined in."""

    def __init__(self, n_bands):
        super().__init__(nn.Conv2d(n_bands, n_bands, 1), nn.BatchNorm2d(n_bands))
        self.head = nn.Conv2d(n_bands, 1, 1)

    def forward(self, x):
        return self.head(self[0](self[1](x)))


def test_the_copy_is_kept_until_the_weights_change():
    net = with_statistics(UNet(base_width=2, depth=2))
    ready, image = folded(net), torch.randn(1, 1, 16, 16)
    assert folded(net) is ready
    state = {name: 2 * values for name, values in net.state_dict().items()}
    net.load_state_dict(state)
    assert folded(net) is not ready
    with torch.no_grad():
        torch.testing.assert_close(folded(net)(image), net.eval()(image), atol=1e-4, rtol=1e-4)
        ready = folded(net)
        net.train()(image)  # which changes the statistics of the normalizations
        assert folded(net) is not ready


def test_an_edit_of_the_data_of_weights_is_seen():
    net, image = with_statistics(UNet(base_width=2, depth=2)), torch.randn(1, 1, 16, 16)
    folded(net)
    for weight in net.parameters():
        weight.data.mul_(1.1)
    with torch.no_grad():
        torch.testing.assert_close(folded(net)(image), net(image), atol=1e-4, rtol=1e-4)


def test_hooks_are_called_and_parametrizations_used():
    net, image, calls = with_statistics(UNet(base_width=2, depth=2)), torch.randn(1, 1, 16, 16), []
    folded(net)
    handle = net.encoder[0][0].register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        folded(net)(image)
        assert calls == [1]
        handle.remove()
        parametrizations.weight_norm(net.encoder[0][0])
        torch.testing.assert_close(folded(net)(image), net(image))


def test_weights_made_in_inference_mode_are_folded():
    with torch.inference_mode():
        net, image = with_statistics(UNet(base_width=2, depth=2)), torch.randn(1, 1, 16, 16)
        ready = folded(net)
        assert folded(net) is ready
        torch.testing.assert_close(ready(image), net(image), atol=1e-4, rtol=1e-4)


def test_a_module_of_the_user_is_left_alone():
    net = with_statistics(ForeignModule(module=Backwards, n_bands=2))
    assert folded(net) is net


def test_a_segmenter_predicts_as_its_unfolded_net():
    unet = UNetSegmenter(
        base_width=4, depth=3, max_epochs=2, n_views=1, precision="float32", random_state=0
    ).fit(X, Y)
    (scaled,) = unet._scale_all([X[0][None]])
    with torch.no_grad():
        logits = unet.net_.module_.eval()(torch.from_numpy(scaled)[None])
    np.testing.assert_allclose(
        unet.predict_proba(X[:1])[0], torch.sigmoid(logits)[0, 0].numpy(), atol=1e-5
    )


def test_training_goes_on_after_prediction():
    unet = UNetSegmenter(base_width=2, depth=2, max_epochs=1, random_state=0).fit(X, Y)
    before = copy.deepcopy(unet.net_.module_.state_dict())
    unet.predict(X)
    unet.partial_fit(X, Y)
    assert count_normalizations(unet.net_.module_) == 6
    assert any(
        not torch.equal(before[name], weight)
        for name, weight in unet.net_.module_.state_dict().items()
    )


def test_weights_of_a_processor_without_doubles_are_told_apart(monkeypatch):
    """Apple's graphics processors have no float64."""
    net = with_statistics(UNet(base_width=2, depth=2))

    def forbidden(self):
        raise TypeError("no float64")

    monkeypatch.setattr(torch.Tensor, "double", forbidden)
    assert folded(net) is folded(net)

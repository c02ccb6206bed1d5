"""The set-prediction modules against transformers' own, and what differs from it on purpose."""

import sys

import numpy as np
import pytest
import torch

from galaxysegment.nets.detr._loss import _convolve_enlarged
from galaxysegment.nets.detr._published import PublishedDetr
from galaxysegment.nets.detr._seeded import SeededDetr
from galaxysegment.nets.mask2former._loss import PointLoss
from galaxysegment.nets.mask2former._published import PublishedMask2Former
from galaxysegment.nets.mask2former._seeded import SeededMask2Former
from galaxysegment.nets.queries._data import SegmentBatch, SegmentCollate, encode_target, masks_at
from galaxysegment.nets.queries._prediction import _candidates
from galaxysegment.nets.queries._seeds import centre_loss, find_peaks, sine_position
from galaxysegment.testing import make_images

X, Y = make_images(2, shape=(48, 40))
SMALL = {"d_model": 32, "n_heads": 8, "decoder_layers": 3, "feedforward": 32, "n_queries": 6}
RESIDUAL = {**SMALL, "encoder_layers": 1}
MODULES = [
    (SeededMask2Former, {**SMALL, "base_width": 4, "depth": 3}),
    (SeededMask2Former, {**SMALL, "base_width": 4, "depth": 2, "queries": "learned"}),
    (PublishedMask2Former, {**RESIDUAL, "stem_stride": 2}),
    (PublishedDetr, {**RESIDUAL, "stem_stride": 2}),
    (SeededDetr, {**RESIDUAL, "base_width": 4, "depth": 4}),
    (SeededDetr, {**RESIDUAL, "base_width": 4, "depth": 2, "queries": "learned"}),
]


def make_batch():
    torch.manual_seed(0)
    pairs = [
        (image[None].astype(np.float32), encode_target(labels, np.ones(3, int)))
        for image, labels in zip(X, Y, strict=True)
    ]
    return SegmentCollate(n_points=128)(pairs)[0]


def make_module(cls, params):
    torch.manual_seed(0)
    return cls(n_bands=1, n_classes=2, **params)


@pytest.mark.parametrize(("cls", "params"), MODULES)
def test_losses_reach_every_weight_and_outputs_have_the_shape_of_the_images(cls, params):
    module = make_module(cls, params)
    losses = module(make_batch())
    assert {"loss_class", "loss_mask", "loss_dice"} <= set(losses)
    sum(losses.values()).backward()
    idle = {name for name, weight in module.named_parameters() if weight.grad is None}
    assert not {name for name in idle if "criterion" not in name}
    module.eval()
    with torch.no_grad():
        outputs = module(SegmentBatch(torch.randn(2, 1, 33, 21)))
    assert outputs["masks"].shape[-2:] == (33, 21)
    assert (
        outputs["classes"].shape[:2] == outputs["masks"].shape[:2]
        and outputs["classes"].shape[-1] == 3
    )


@pytest.mark.parametrize(("cls", "params"), MODULES)
def test_freezing_the_backbone_leaves_it_as_it_is(cls, params):
    module = make_module(cls, params).freeze("heads")
    module.train()
    body, stages = module.body()
    before = [tensor.clone() for tensor in body.state_dict().values()]
    module(make_batch())
    assert all(torch.equal(*pair) for pair in zip(before, body.state_dict().values(), strict=True))
    assert not any(weight.requires_grad for weight in body.parameters())
    module.freeze("2+")
    assert not any(weight.requires_grad for weight in stages[0].parameters())
    assert all(weight.requires_grad for weight in stages[1].parameters())
    module.freeze("all")
    assert all(weight.requires_grad for weight in module.parameters())


def test_detr_computes_what_transformers_computes():
    module = make_module(PublishedDetr, RESIDUAL).eval()
    module.located = False  # what it adds from scratch
    x = torch.randn(2, 1, 32, 48)
    with torch.no_grad():
        theirs = module.model(pixel_values=x)
        features, states, memory, place = module._attend(x)
        everyone = torch.arange(6)[None].expand(2, -1)
        masks = module._masks(features, states[-1], memory, place, everyone)
    torch.testing.assert_close(masks, theirs.pred_masks)
    torch.testing.assert_close(module.model.detr.class_labels_classifier(states[-1]), theirs.logits)


@pytest.mark.parametrize(("cls", "params"), MODULES)
def test_queries_without_a_mask_would_not_have_been_sources(cls, params, monkeypatch):
    module = make_module(cls, {**params, "n_queries": 12}).eval()
    head = module.model.class_predictor if cls is PublishedMask2Former else None
    head = module.model.detr.class_labels_classifier if cls is PublishedDetr else head
    head = head or module.classifier
    # some queries are likely sources, others likely sky or nothing
    uneven = 3 * torch.randn(13, 3)
    head.register_forward_hook(lambda _, __, logits: logits + uneven[: logits.shape[-2]])
    images = torch.randn(2, 1, 33, 24)

    def candidates():
        with torch.no_grad():
            output = module(SegmentBatch(images, least=0.4))
        pairs = zip(output["classes"], output["masks"], strict=True)
        return output["masks"].shape[1], [_candidates(*pair, 12, 0.4) for pair in pairs]

    n_shown, ours = candidates()

    def show_all(logits, paint, least):
        everyone = torch.arange(logits.shape[1]).expand(len(logits), -1)
        return {"classes": logits, "masks": paint(everyone)}

    monkeypatch.setattr(sys.modules[cls.__module__], "show_likeliest", show_all)
    n_all, expected = candidates()
    assert 1 < n_shown < n_all
    assert max(len(part.scores) for part in ours) > 0
    for part, other in zip(ours, expected, strict=True):
        order, other_order = (np.argsort(both.masks.sum(axis=(1, 2))) for both in (part, other))
        np.testing.assert_allclose(part.scores[order], other.scores[other_order], atol=1e-5)
        np.testing.assert_allclose(part.masks[order], other.masks[other_order], atol=1e-4)
        np.testing.assert_allclose(part.sky, other.sky, atol=1e-4)


@pytest.mark.parametrize("size", [(5, 7), (6, 6)])
def test_features_are_convolved_before_they_are_enlarged(size):
    """With the result of convolving them after it, at the edges too."""
    torch.manual_seed(0)
    features, weight = torch.randn(3, 4, *size), torch.randn(2, 4, 3, 3)
    for shape in [(2 * size[0], 2 * size[1]), (2 * size[0] - 1, 2 * size[1]), size]:
        enlarged = torch.nn.functional.interpolate(features, shape)
        expected = torch.nn.functional.conv2d(enlarged, weight, padding=1)
        torch.testing.assert_close(_convolve_enlarged(weight, features, shape), expected)


def test_detr_losses_are_transformers_losses():
    """Classes and boxes, with the same targets.

    Masks differ on purpose in the pixels that count.
    """
    module = make_module(PublishedDetr, RESIDUAL).eval()
    batch = make_batch()
    labels = [
        {
            "class_labels": classes,
            "boxes": boxes,
            "masks": torch.stack([label_map == k for k in (1, 2, 3, 0)]).float(),
        }
        for classes, boxes, label_map in zip(
            *(batch.targets[name] for name in ("classes", "boxes", "labels")), strict=True
        )
    ]
    with torch.no_grad():
        theirs = module.model(pixel_values=batch.images, labels=labels).loss_dict
        ours = module(batch)
    for name, (key, weight) in {
        "class": ("loss_ce", 1),
        "box": ("loss_bbox", 5),
        "giou": ("loss_giou", 2),
    }.items():
        layers = [loss.item() for part, loss in theirs.items() if part.startswith(key)]
        assert len(layers) == 3
        assert ours[f"loss_{name}"].item() == pytest.approx(weight * sum(layers), rel=1e-4)


def test_the_backbone_of_detr_learns():
    """transformers freezes all of it and its normalizations: its filter and its names disagree."""
    module = make_module(PublishedDetr, RESIDUAL)
    backbone, _ = module.body()
    assert all(weight.requires_grad for weight in backbone.parameters())
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in backbone.modules())


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
@pytest.mark.parametrize("cls", [PublishedDetr, PublishedMask2Former])
def test_the_stride_of_the_masks(cls, stem_stride):
    module = make_module(cls, {**RESIDUAL, "stem_stride": stem_stride}).eval()
    with torch.no_grad():
        stages = module.body()[0](
            torch.zeros(1, 1, 64, 64), *([torch.ones(1, 64, 64)] if cls is PublishedDetr else [])
        )
    first = stages[0][0] if cls is PublishedDetr else stages.feature_maps[0]
    assert first.shape[-1] == 64 // stem_stride


def test_point_loss_is_transformers_loss_at_all_pixels():
    """Where the points are all pixels, the costs are those of the dense masks."""
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former.modeling_mask2former import (
        dice_loss,
        sigmoid_cross_entropy_loss,
    )

    loss = PointLoss(Mask2FormerConfig(num_labels=2))
    torch.manual_seed(0)
    truth = (torch.rand(1, 3, 20) > 0.5).float()
    logits = torch.randn(1, 5, 20)
    logits[0, [4, 0, 2]] = 20 * (truth[0] - 0.5)  # queries 4, 0, 2 know the masks
    classes, labels = torch.zeros(1, 5, 3), [torch.tensor([1, 1, 0])]
    ((queries, segments),) = loss.matcher(logits, classes, list(truth), labels)
    assert dict(zip(segments.tolist(), queries.tolist(), strict=True)) == {0: 4, 1: 0, 2: 2}
    actual = loss.weighted([logits], [classes], list(truth), labels)
    ordered = logits[0, [4, 0, 2]]
    assert actual["loss_mask"].item() == pytest.approx(
        5 * sigmoid_cross_entropy_loss(ordered, truth[0], 3).item()
    )
    assert actual["loss_dice"].item() == pytest.approx(5 * dice_loss(ordered, truth[0], 3).item())


def test_a_loss_that_is_no_number_does_not_stop_the_matching():
    from transformers import Mask2FormerConfig

    matcher = PointLoss(Mask2FormerConfig(num_labels=1)).matcher
    logits = torch.full((1, 3, 8), float("nan"))
    ((queries, _),) = matcher(
        logits, torch.zeros(1, 3, 2), [torch.ones(2, 8)], [torch.tensor([0, 0])]
    )
    assert len(queries) == 2


def test_queries_begin_at_the_highest_peaks():
    heat = torch.zeros(1, 20, 30)
    heat[0, 4, 5], heat[0, 4, 6], heat[0, 15, 25] = 3.0, 2.0, 1.0
    peaks = find_peaks(heat - 1, 2)
    assert peaks.tolist() == [[[4, 5], [15, 25]]]
    assert find_peaks(torch.zeros(1, 2, 3), 64).shape == (1, 6, 2)


def test_places_have_embeddings_that_differ_least_nearby():
    places = sine_position(torch.tensor([[10.0, 10.0], [10.0, 12.0], [90.0, 40.0]]), 64)
    near, far = (places[0] @ places[index] for index in (1, 2))
    assert places[0] @ places[0] > near > far


def test_the_centre_loss_falls_with_better_maps():
    heat = torch.zeros(1, 9, 9)
    heat[0, 4, 4] = 1.0
    weight = torch.ones_like(heat)
    good, flat = 10 * (heat - 0.5), torch.zeros_like(heat)
    assert centre_loss(good, heat, weight) < 0.01 * centre_loss(flat, heat, weight)
    assert centre_loss(flat, torch.zeros_like(heat), weight) > 0
    assert centre_loss(flat, heat, 0 * weight) == 0


def test_masks_are_read_at_pixels():
    masks = torch.arange(12.0).reshape(1, 1, 3, 4)
    points = torch.tensor([[[0, 0], [2, 3], [1, 2]]])
    assert masks_at(masks, points, (3, 4)).tolist() == [[[0.0, 11.0, 6.0]]]
    twice = torch.nn.functional.interpolate(
        masks, scale_factor=2, mode="bilinear", align_corners=False
    )
    fine = torch.tensor([[[0, 0], [5, 7], [2, 5]]])
    torch.testing.assert_close(masks_at(masks, fine, (6, 8)), masks_at(twice, fine, (6, 8)))

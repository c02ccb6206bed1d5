"""Losses and matching against slow references, and what they may not depend on."""

from itertools import permutations

import numpy as np
import pytest
import torch
from transformers import DetrConfig, Mask2FormerConfig

from galaxysegment.nets.common._losses import BCEDiceLoss
from galaxysegment.nets.detr._loss import DetrLoss
from galaxysegment.nets.mask2former._loss import PointLoss, PointMatcher
from galaxysegment.nets.queries._module import show_likeliest


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def slow_entropy(logits, truth):
    terms = [
        -np.log(sigmoid(logit)) if true else -np.log(1 - sigmoid(logit))
        for logit, true in zip(np.ravel(logits), np.ravel(truth), strict=True)
    ]
    return sum(terms) / len(terms)


def slow_dice(logits, truth):
    """One minus the smoothed Dice coefficient."""
    proba = sigmoid(logits)
    return 1 - (2 * (proba * truth).sum() + 1) / (proba.sum() + truth.sum() + 1)


def draw(seed, *shape):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, shape), (rng.random(shape) < 0.4).astype(float)


def bce_dice(logits, truth, weight, dice_weight):
    tensors = [torch.as_tensor(values, dtype=torch.float32) for values in (logits, truth, weight)]
    return BCEDiceLoss(dice_weight)(tensors[0][:, None], torch.stack(tensors[1:], dim=1)).item()


@pytest.mark.parametrize("dice_weight", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("kept", [1, 5, 24])
def test_the_unet_loss_is_a_mean_over_the_pixels_that_count(kept, dice_weight):
    """Pixels without weight are as if they were not there: not in the sums, not in the numbers."""
    logits, truth = draw(0, 2, 3, 4)
    weight = np.zeros(24)
    weight[np.random.default_rng(1).permutation(24)[:kept]] = 1
    counts = weight.reshape(truth.shape) > 0
    expected = slow_entropy(logits[counts], truth[counts])
    expected += dice_weight * slow_dice(logits[counts], truth[counts])
    loss = bce_dice(logits, truth, counts, dice_weight)
    assert loss == pytest.approx(expected, rel=1e-5)


def test_a_larger_batch_of_the_same_has_the_same_cross_entropy():
    logits, truth = draw(2, 2, 5, 5)
    once, thrice = (
        bce_dice(
            *(np.tile(values, (n, 1, 1)) for values in (logits, truth, np.ones((2, 5, 5)))), 0.0
        )
        for n in (1, 3)
    )
    assert thrice == pytest.approx(once, rel=1e-5)


@pytest.mark.parametrize("weights", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 5, 5), (7, 0.1, 0.5)])
@pytest.mark.parametrize("seed", range(4))
def test_queries_are_matched_at_the_least_cost(weights, seed):
    """All choices of queries are tried.

    Costs of class, mask (cross-entropy) and Dice, as weighted.
    """
    rng = np.random.default_rng(seed)
    logits, classes = rng.normal(0, 2, (4, 9)), rng.normal(0, 1, (4, 3))
    truth, labels = (rng.random((3, 9)) < 0.5).astype(float), rng.integers(0, 2, 3)
    proba = np.exp(classes) / np.exp(classes).sum(axis=1, keepdims=True)
    cost = [
        [
            -weights[0] * proba[query, labels[segment]]
            + weights[1] * slow_entropy(logits[query], truth[segment])
            + weights[2] * slow_dice(logits[query], truth[segment])
            for segment in range(3)
        ]
        for query in range(4)
    ]
    best = min(permutations(range(4), 3), key=lambda p: sum(cost[q][s] for s, q in enumerate(p)))
    matcher = PointMatcher(cost_class=weights[0], cost_mask=weights[1], cost_dice=weights[2])
    tensors = [torch.as_tensor(values, dtype=torch.float32) for values in (logits, classes, truth)]
    ((queries, segments),) = matcher(
        tensors[0][None], tensors[1][None], [tensors[2]], [torch.as_tensor(labels)]
    )
    matched = dict(zip(segments.tolist(), queries.tolist(), strict=True))
    chosen = sum(cost[query][segment] for segment, query in matched.items())
    assert sorted(matched) == [0, 1, 2] and len(set(matched.values())) == 3
    assert chosen == pytest.approx(sum(cost[q][s] for s, q in enumerate(best)), rel=1e-4, abs=1e-4)


def test_the_matcher_and_the_loss_take_their_weights_from_the_configuration():
    config = Mask2FormerConfig(num_labels=1, class_weight=1.5, mask_weight=2.5, dice_weight=3.5)
    loss = PointLoss(config)
    matcher = loss.matcher
    assert (matcher.cost_class, matcher.cost_mask, matcher.cost_dice) == (1.5, 2.5, 3.5)
    assert loss.weight_dict == {
        "loss_cross_entropy": 1.5, "loss_mask": 2.5, "loss_dice": 3.5,
    }  # fmt: skip
    detr = DetrLoss(DetrConfig(num_labels=1, class_cost=3, bbox_cost=4, giou_cost=6))
    matcher = detr.matcher
    assert (matcher.class_cost, matcher.bbox_cost, matcher.giou_cost) == (3, 4, 6)


def point_losses(seed, n_copies, n_layers):
    """Two images with 2 and 3 segments at 12 points, repeated; every layer says the same."""
    torch.manual_seed(seed)
    masks, classes = torch.randn(2, 4, 12), torch.randn(2, 4, 3)
    truth = [(torch.rand(n, 12) > 0.5).float() for n in (2, 3)] * n_copies
    labels = [torch.tensor([0, 1]), torch.tensor([1, 1, 0])] * n_copies
    layers = [
        [scores.repeat(n_copies, 1, 1) for _ in range(n_layers)] for scores in (masks, classes)
    ]
    loss = PointLoss(Mask2FormerConfig(num_labels=2))
    actual = loss.weighted(*layers, truth, labels)
    indices = loss.matcher(layers[0][-1], layers[1][-1], truth, labels)
    return {name: value.item() for name, value in actual.items()}, masks, truth, indices


@pytest.mark.parametrize("seed", range(3))
def test_losses_of_points_are_means_over_segments_and_sums_over_layers(seed):
    once, masks, truth, indices = point_losses(seed, 1, 1)
    pairs = [
        (masks[image][query].numpy(), truth[image][segment].numpy())
        for image, matched in enumerate(indices)
        for query, segment in zip(*matched, strict=True)
    ]
    assert len(pairs) == 5
    assert once["loss_mask"] == pytest.approx(
        5 * np.mean([slow_entropy(*pair) for pair in pairs]), rel=1e-4
    )
    assert once["loss_dice"] == pytest.approx(
        5 * np.mean([slow_dice(*pair) for pair in pairs]), rel=1e-4
    )
    larger, deeper = point_losses(seed, 3, 1)[0], point_losses(seed, 1, 3)[0]
    for name, value in once.items():
        assert larger[name] == pytest.approx(value, rel=1e-4)
        assert deeper[name] == pytest.approx(3 * value, rel=1e-4)


DETR = {"bbox_loss_coefficient": 5, "giou_loss_coefficient": 2, "num_labels": 2}
DETR |= {"mask_loss_coefficient": 3, "dice_loss_coefficient": 7}


def detr_targets():
    """Two images, 4 × 5: one with a source and the sky, one with the sky only.

    All pixels are points.
    """
    labels = torch.zeros(2, 4, 5, dtype=torch.long)
    labels[0, 1:3, 1:4] = 1
    points = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij"), dim=-1)
    return {
        "labels": labels,
        "points": points.reshape(1, 20, 2).repeat(2, 1, 1),
        "classes": [torch.tensor([1, 0]), torch.tensor([0])],
        "boxes": [
            torch.tensor([[0.5, 0.5, 0.6, 0.5], [0.5, 0.5, 1.0, 1.0]]),
            torch.tensor([[0.5, 0.5, 1.0, 1.0]]),
        ],
    }


def slow_focal(logits, truth):
    total = 0.0
    for logit, true in zip(logits.ravel(), truth.ravel(), strict=True):
        right = sigmoid(logit) if true else 1 - sigmoid(logit)
        total -= (0.25 if true else 0.75) * (1 - right) ** 2 * np.log(right)
    return total / logits.size


def test_mask_losses_of_detr_are_means_over_the_segments_of_the_batch():
    torch.manual_seed(0)
    masks, targets = torch.randn(2, 3, 4, 5), detr_targets()
    indices = [
        (torch.tensor([2, 0]), torch.tensor([1, 0])),  # the sky is query 2, the source is query 0
        (torch.tensor([1]), torch.tensor([0])),
    ]

    def paint(queries):
        return masks.gather(1, queries[..., None, None].expand(-1, -1, 4, 5))

    actual = DetrLoss(DetrConfig(**DETR)).of_masks(paint, indices, targets)
    source = targets["labels"].numpy() == 1
    pairs = [(0, 2, ~source[0]), (0, 0, source[0]), (1, 1, ~source[1])]
    pairs = [(masks[image, query].numpy(), truth) for image, query, truth in pairs]
    focal, dice = (
        np.mean([function(*pair) for pair in pairs]) for function in (slow_focal, slow_dice)
    )
    assert actual["loss_mask"].item() == pytest.approx(3 * focal, rel=1e-4)
    assert actual["loss_dice"].item() == pytest.approx(7 * dice, rel=1e-4)


def test_set_losses_of_detr_are_means_over_boxes_and_sums_over_layers():
    torch.manual_seed(0)
    logits, boxes = torch.randn(2, 3, 3), torch.rand(2, 3, 4) * 0.4 + 0.3
    targets = detr_targets()
    loss = DetrLoss(DetrConfig(**DETR))

    def losses(n_copies, n_layers):
        many = {name: targets[name] * n_copies for name in ("classes", "boxes")}
        layers = [layer.repeat(n_layers, n_copies, 1, 1) for layer in (logits, boxes)]
        return loss.of_sets(*layers, many)

    once, indices = losses(1, 1)
    distance = np.mean(
        [
            np.abs(boxes[image][query].numpy() - targets["boxes"][image][segment].numpy()).sum()
            for image, matched in enumerate(indices)
            for query, segment in zip(*matched, strict=True)
        ]
    )
    assert once["loss_box"].item() == pytest.approx(5 * distance, rel=1e-4)
    (larger, _), (deeper, _) = losses(3, 1), losses(1, 4)
    for name, value in once.items():
        assert larger[name].item() == pytest.approx(value.item(), rel=1e-4)
        assert deeper[name].item() == pytest.approx(4 * value.item(), rel=1e-4)


def paint_indices(queries):
    """Masks that say which queries were asked for."""
    return queries.float()[..., None, None].expand(-1, -1, 2, 3)


def test_only_queries_that_may_be_sources_are_shown_and_the_likeliest_sky():
    # the sky, a source, nothing
    first = [[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.05, 0.04, 0.91], [0.7, 0.2, 0.1]]
    second = [[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.5, 0.1, 0.4], [0.3, 0.4, 0.3]]
    logits = torch.log(torch.tensor([first, second]))
    shown = show_likeliest(logits, paint_indices, 0.3)
    queries = shown["masks"][..., 0, 0].long()
    assert queries.tolist() == [[1, 3, 3], [0, 3, 2]]  # the sky fills what is left over
    for image in range(2):
        assert torch.equal(shown["classes"][image], logits[image, queries[image]])
    assert shown["masks"].shape == (2, 3, 2, 3)
    assert show_likeliest(logits, paint_indices, 0.5)["masks"].shape == (2, 2, 2, 3)


def test_the_sky_is_shown_where_nothing_is_likely():
    logits = torch.tensor([[[0.0, 0.0, 5.0], [1.0, 0.0, 5.0], [0.0, 0.0, 6.0]]])
    shown = show_likeliest(logits, paint_indices, 0.05)
    assert shown["masks"][..., 0, 0].tolist() == [[1.0]]


def test_the_set_loss_of_images_without_sources_is_finite():
    torch.manual_seed(0)
    criterion = DetrLoss(DetrConfig(num_labels=2, num_queries=3))
    nothing = {"classes": [torch.zeros(0, dtype=torch.long)], "boxes": [torch.zeros(0, 4)]}
    logits, boxes = torch.randn(2, 1, 3, 3), torch.rand(2, 1, 3, 4)
    losses, _ = criterion.of_sets(logits, boxes, nothing)
    assert all(torch.isfinite(torch.as_tensor(loss)) for loss in losses.values())
    assert float(losses["loss_box"]) == 0 == float(losses["loss_giou"])


def test_cross_entropy_and_dice_weigh_the_same_by_default():
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 4, 5)
    target = torch.stack([torch.randint(2, (2, 4, 5)).float(), torch.ones(2, 4, 5)], dim=1)
    assert BCEDiceLoss()(logits, target) == BCEDiceLoss(dice_weight=1.0)(logits, target)

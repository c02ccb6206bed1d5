import pytest
import torch

from galaxysegment.nets.common._losses import BCEDiceLoss, ClassLoss


def target(mask, weight=None):
    mask = torch.as_tensor(mask, dtype=torch.float32)
    return torch.stack([mask, torch.ones_like(mask) if weight is None else weight], dim=1)


MASK = (torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.8).float()


def test_perfect_and_opposite_predictions():
    logits = 40 * (2 * MASK[:, None] - 1)
    assert BCEDiceLoss()(logits, target(MASK)) < 1e-3
    assert BCEDiceLoss()(-logits, target(MASK)) > 20


def test_equals_the_formula():
    logits = torch.randn(2, 1, 8, 8)
    proba = torch.sigmoid(logits[:, 0])
    entropy = torch.nn.functional.binary_cross_entropy(proba, MASK)
    dice = (2 * (proba * MASK).sum() + 1) / (proba.sum() + MASK.sum() + 1)
    torch.testing.assert_close(BCEDiceLoss(0.5)(logits, target(MASK)), entropy + 0.5 * (1 - dice))


def test_pixels_without_weight_do_not_count():
    weight = torch.ones_like(MASK)
    weight[:, :3] = 0
    logits = torch.randn(2, 1, 8, 8)
    changed = logits.clone()
    changed[:, :, :3] = 30
    other = MASK.clone()
    other[:, :3] = 1
    expected = BCEDiceLoss()(logits, target(MASK, weight))
    torch.testing.assert_close(BCEDiceLoss()(changed, target(other, weight)), expected)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_nothing_to_see_has_a_finite_loss_and_gradient(weight):
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    loss = BCEDiceLoss()(logits, target(torch.zeros(1, 4, 4), torch.full((1, 4, 4), weight)))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_dice_keeps_a_rare_galaxy_from_being_outvoted():
    # one galaxy pixel in 256: the gradient there must be a fair part of the whole
    logits = torch.zeros(1, 1, 16, 16, requires_grad=True)
    mask = torch.zeros(1, 16, 16)
    mask[0, 8, 8] = 1
    BCEDiceLoss(0.0)(logits, target(mask)).backward()
    plain = logits.grad[0, 0, 8, 8].abs() / logits.grad.abs().sum()
    logits.grad = None
    BCEDiceLoss()(logits, target(mask)).backward()
    assert logits.grad[0, 0, 8, 8].abs() / logits.grad.abs().sum() > 1.2 * plain


CLASSES = torch.randint(0, 4, (2, 8, 8), generator=torch.Generator().manual_seed(1))


def test_classes_are_asked_for_in_three_questions():
    logits = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    proba = torch.softmax(logits, dim=1)
    own = proba.gather(1, CLASSES[:, None])[:, 0]
    is_thing = (CLASSES == 1) | (CLASSES == 2)
    group = torch.where(is_thing, proba[:, 1] + proba[:, 2], proba[:, 0] + proba[:, 3])
    expected = -group.log().mean()
    for asked in (is_thing, ~is_thing):
        expected = expected - (own / group)[asked].log().mean()
    loss = ClassLoss(dice_weight=0.0, things=[1, 2])(logits, target(CLASSES))
    torch.testing.assert_close(loss, expected)
    dice = ClassLoss(dice_weight=1.0, things=[1, 2])(logits, target(CLASSES)) - loss
    assert 0.5 < dice < 0.9


def test_the_sky_around_does_not_hide_a_star():
    """A star called a galaxy costs as much in a large empty field as in a small one."""
    classes = torch.zeros(1, 64, 64, dtype=torch.long)
    classes[0, 2:4, 2:4] = 2
    logits = 20.0 * torch.nn.functional.one_hot(classes, 4).permute(0, 3, 1, 2).float()
    logits[0, 1:3, 2:4, 2:4] = torch.tensor([3.0, 0.0])[:, None, None]
    loss = ClassLoss(dice_weight=0.0, things=[1, 2])
    small = loss(logits[..., :8, :8], target(classes[..., :8, :8]))
    large = loss(logits, target(classes))
    assert small > 3 and large > 0.95 * small


@pytest.mark.parametrize("things", [None, [1], [1, 2, 3]])
def test_questions_without_an_answer_cost_nothing(things):
    """No pixel counts, or a group has one class or no pixel."""
    logits = torch.randn(2, 4, 8, 8)
    assert ClassLoss(things=things)(logits, target(CLASSES, torch.zeros(2, 8, 8))) == 0
    sky = target(torch.zeros(2, 8, 8))
    perfect = 40.0 * torch.nn.functional.one_hot(sky[:, 0].long(), 4).permute(0, 3, 1, 2).float()
    assert ClassLoss(things=things)(perfect, sky) < 1e-3
    wrong = ClassLoss(things=things)(perfect.flip(1), sky)
    assert torch.isfinite(wrong) and wrong > 20

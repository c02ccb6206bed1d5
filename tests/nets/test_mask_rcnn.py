import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from galaxysegment import Instances  # noqa: E402
from galaxysegment.nets.mask_rcnn._backbones import make_backbone, widen_stem  # noqa: E402
from galaxysegment.nets.mask_rcnn._data import DetectionCollate, SourceDataset, cut, stack_padded  # noqa: E402
from galaxysegment.nets.mask_rcnn._module import LOSSES, MaskRCNN, _Anchors, crop_masks, soft_nms  # noqa: E402
from galaxysegment.nets.mask_rcnn._prediction import paste  # noqa: E402
from galaxysegment.testing import make_images  # noqa: E402

LIGHT = {
    "backbone": "resnet10",
    "channels": 8,
    "stem_stride": 2,
    "n_proposals": 20,
    "n_samples": 16,
}
X, Y = make_images(3)
INSTANCES = [Instances.from_label_map(true_map) for true_map in Y]


def make_batch(images=X, instances=INSTANCES, multiple=64):
    return DetectionCollate(multiple, (1, 2))(
        [(x[None], y) for x, y in zip(images, instances, strict=True)]
    )[0]


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return MaskRCNN(**LIGHT)


# ---- batches ----


def test_a_batch_holds_boxes_labels_and_crops():
    overlapping = Instances(
        (48, 40), [(2, 3, 6, 10), (4, 5, 6, 8)], [np.ones((4, 7)), np.eye(2, 3)], classes=[2, 1]
    )
    batch = make_batch(X[:1], [overlapping])
    assert batch.images.shape == (1, 1, 64, 64) and batch.sizes == [(48, 40)]
    np.testing.assert_array_equal(batch.images[0, 0, :48, :40], X[0])
    assert not batch.images[0, 0, 48:].any() and not batch.images[0, 0, :, 40:].any()
    (target,) = batch.targets
    assert target["boxes"].tolist() == [[3, 2, 10, 6], [5, 4, 8, 6]] and target[
        "labels"
    ].tolist() == [2, 1]
    assert target["crops"].shape == (2, 6, 9)
    np.testing.assert_array_equal(target["crops"][1, 1:3, 1:4], np.eye(2, 3))
    assert target["crops"][1].sum() == 2


def test_declared_classes_give_the_labels():
    sources = Instances((4, 4), [(0, 0, 1, 1)], [[[1]]], classes=[7])
    (target,) = DetectionCollate(32, (3, 7))([(np.zeros((1, 4, 4)), sources)])[0].targets
    assert target["labels"].tolist() == [2]


def test_missing_pixels_are_sky():
    stack, _ = stack_padded([np.array([[[np.nan, 2.0]]])], 32)
    assert stack.shape == (1, 1, 32, 32) and stack.sum() == 2


@settings(max_examples=30, deadline=None)
@given(
    y0=st.integers(0, 30),
    x0=st.integers(0, 30),
    height=st.integers(1, 18),
    width=st.integers(1, 10),
)
def test_a_window_holds_what_reaches_into_it(y0, x0, height, width):
    rows, columns = slice(y0, y0 + height), slice(x0, x0 + width)
    part = cut(INSTANCES[0], rows, columns)
    np.testing.assert_array_equal(part.to_mask(), (Y[0] > 0)[rows, columns])


def test_patches_of_large_images():
    dataset = SourceDataset([X[0][None]], INSTANCES[:1], patch_size=20, training=True)
    assert len(dataset) == 6
    for image, target in dataset:
        assert image.shape == (1, 20, 20) and target.shape == (20, 20)


# ---- masks in boxes and back ----


@settings(max_examples=60, deadline=None)
@given(
    box=st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(6, 25), st.integers(6, 25)),
    tilt=st.floats(-1, 1),
    stretch=st.floats(0.5, 1.0),
)
def test_a_mask_comes_back_from_its_grid(box, tilt, stretch):
    """An ellipse goes into the 28 × 28 cells of its box and comes back with all but a few pixels of
    its rim.
    """
    y0, x0, height, width = box
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    crop = rows**2 / stretch + (columns - 0.3 * tilt * rows) ** 2 <= 1
    instances = Instances.from_masks(
        [np.pad(crop, ((y0, 50 - y0 - height), (x0, 50 - x0 - width)))]
    )
    (target,) = make_batch([np.zeros((50, 50), dtype=np.float32)], [instances]).targets
    grid = crop_masks(target["crops"], target["boxes"], target["boxes"], torch.tensor([0]), 28)
    pasted = paste(target["boxes"][0].tolist(), grid[0].numpy(), (50, 50))
    back = Instances((50, 50), [pasted[0]], [pasted[1]]).masks[0]
    truth = instances.masks[0]
    assert np.count_nonzero(back & truth) >= 0.93 * np.count_nonzero(back | truth)


def test_masks_are_sampled_from_crops_as_from_dense_ones():
    from torchvision.ops import roi_align

    rng = np.random.default_rng(0)
    instances = INSTANCES[0]
    (target,) = make_batch(X[:1], [instances]).targets
    index = torch.tensor([0, 2, 1, 1])
    corner = torch.from_numpy(rng.uniform(0, 25, size=(4, 2)).astype(np.float32))
    boxes = torch.cat([corner, corner + torch.tensor([[9.3, 12.1]])], dim=1)
    dense = torch.from_numpy(instances.masks.astype(np.float32))[index][:, None]
    expected = roi_align(
        dense, torch.cat([torch.arange(4.0)[:, None], boxes], dim=1), (14, 14), aligned=True
    )[:, 0]
    cropped = crop_masks(target["crops"], target["boxes"], boxes, index, 14)
    np.testing.assert_allclose(cropped, expected, atol=1e-5)


def test_paste_cuts_at_the_image_and_drops_the_small():
    solid = np.ones((28, 28), dtype=np.float32)
    (y0, x0, y1, x1), crop = paste((-3.0, 5.2, 4.0, 60.0), solid, (40, 30))
    assert (y0, x0, y1, x1) == (5, 0, 40, 4) and crop.all()
    assert paste((3, 3, 5, 5), solid, (40, 30), n_pixels=5) is None
    assert paste((3, 3, 5, 5), np.zeros((28, 28), dtype=np.float32), (40, 30)) is None
    assert paste((3, 3, 9, 9), 0.4 * solid, (40, 30)) is None
    assert paste((3, 3, 9, 9), 0.4 * solid, (40, 30), threshold=0.3)[1].all()


# ---- the module ----


def test_anchors_stand_about_their_pixels():
    anchors = _Anchors([8.0, 20.0], [4, 8])([torch.zeros(1, 3, 2, 3), torch.zeros(1, 3, 1, 1)])
    assert anchors.shape == (2 * 3 * 3 + 3, 4)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    np.testing.assert_allclose(centres[3:6], [[4.5, 0.5]] * 3)
    np.testing.assert_allclose((anchors[:, 2:] - anchors[:, :2]).prod(dim=1)[-3:], 400, rtol=1e-5)
    assert anchors[1].tolist() == [-3.5, -3.5, 4.5, 4.5]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(0, 15), sigma=st.sampled_from([1e-9, 0.3, 0.5]))
def test_soft_suppression_as_the_paper_writes_it(seed, n, sigma):
    from torchvision.ops import box_iou, nms

    generator = torch.Generator().manual_seed(seed)
    corners = 30 * torch.rand(n, 2, generator=generator)
    boxes = torch.cat([corners, corners + 2 + 15 * torch.rand(n, 2, generator=generator)], dim=1)
    scores = torch.rand(n, generator=generator)
    decayed, order = soft_nms(boxes, scores, sigma, 0.1)
    if sigma == 1e-9:  # any overlap is too much
        expected = nms(boxes, scores, 1e-4)
        assert order.tolist() == expected[scores[expected] > 0.1].tolist()
        return
    left, iou = dict(enumerate(scores.double())), box_iou(boxes.double(), boxes.double())
    for index in order.tolist():
        best = max(left, key=left.get)
        assert index == best and decayed[index] == pytest.approx(float(left.pop(best)), rel=1e-5)
        left = {k: score * torch.exp(-(iou[index, k] ** 2) / sigma) for k, score in left.items()}
    assert all(score <= 0.1 for score in left.values())


def test_losses_in_training_and_sources_otherwise(module):
    losses = module.train()(make_batch())
    assert set(losses) == set(LOSSES)
    assert all(torch.isfinite(loss) for loss in losses.values())
    module.eval().roi_heads.score_thresh = 0.0
    with torch.no_grad():
        outputs = module(make_batch())
    assert [set(prediction) for prediction in outputs] == [
        {"boxes", "labels", "scores", "proba", "masks", "saturated"}
    ] * 3
    assert len(outputs[0]["boxes"]) > 0
    for prediction in outputs:
        n = len(prediction["boxes"])
        assert prediction["masks"].shape == (n, 28, 28) and prediction[
            "scores"
        ].shape == prediction["labels"].shape == (n,)
        assert (prediction["boxes"] >= 0).all() and (prediction["boxes"][:, [0, 2]] <= 40).all()
        assert set(prediction["labels"].tolist()) <= {1}
        assert (prediction["scores"].diff() <= 0).all()


def test_images_without_sources(module):
    nothing = Instances((48, 40), [], [])
    losses = module.train()(make_batch(X[:2], [nothing, INSTANCES[1]]))
    assert all(torch.isfinite(loss) for loss in losses.values())
    empty = module.train()(make_batch(X[:2], [nothing, nothing]))
    assert empty["loss_mask"] == 0 and empty["loss_classifier"] > 0
    sum(empty.values()).backward()


def test_frozen_layers_neither_learn_nor_keep_statistics(module):
    module.freeze("4+").train()
    body = module.backbone.body
    assert not body.conv1.weight.requires_grad and not any(
        p.requires_grad for p in body.layer2.parameters()
    )
    assert all(p.requires_grad for p in body.layer3.parameters())
    assert not body.layer2.training and body.layer3.training
    before = {name: buffer.clone() for name, buffer in body.named_buffers()}
    module(make_batch())
    changed = {
        name.split(".")[0]
        for name, buffer in body.named_buffers()
        if not torch.equal(buffer, before[name])
    }
    assert changed == {"layer3", "layer4"}
    module.freeze("heads")
    assert not any(p.requires_grad for p in body.parameters())
    assert all(p.requires_grad for p in module.rpn.parameters())
    module.freeze("all").train()
    assert all(p.requires_grad for p in module.parameters()) and body.conv1.training


def test_stages_of_a_unet_are_the_levels_of_its_encoder():
    params = {"anchor_sizes": (4, 8, 16, 32, 64), "n_samples": 16, "n_proposals": 20}
    module = MaskRCNN(backbone="unet", channels=4, **params).freeze("3+").train()
    encoder = module.backbone.body.encoder
    learns = [next(block.parameters()).requires_grad for block in encoder]
    assert learns == [False, False, True, True, True] == [block.training for block in encoder]
    assert all(part.requires_grad for part in module.backbone.body.decoder.parameters())
    losses = module(make_batch())
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_the_finest_map_of_a_unet_reaches_the_pyramid():
    backbone = make_backbone("unet", channels=4).eval()
    image = torch.zeros(1, 1, 32, 32)
    before = backbone(image)["0"]
    with torch.no_grad():
        backbone.fine.bias += 1
    torch.testing.assert_close(backbone(image)["0"], before + 1)


def test_losses_without_new_statistics(module):
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    losses = module.loss_mode()(make_batch())
    assert set(losses) == set(LOSSES)
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, before[name])


def test_images_get_proposals_by_their_size(module):
    """In a small image with as many as a large one, the worst would be such as the heads have never
    seen.
    """
    module.eval()
    module.patch_area = 50 * 64
    module._set_capacity(make_batch(X[:1, :, :32], [cut(INSTANCES[0], slice(0, 48), slice(0, 32))]))
    assert module.rpn.post_nms_top_n() == 20
    module._set_capacity(
        make_batch([np.zeros((100, 128), dtype=np.float32)], [Instances((100, 128), [], [])])
    )
    assert module.rpn.post_nms_top_n() == module.roi_heads.detections_per_img == 80
    module.n_proposals, module.patch_area = 128, 100 * 128
    module._set_capacity(
        make_batch([np.zeros((50, 128), dtype=np.float32)], [Instances((50, 128), [], [])])
    )
    assert module.rpn.post_nms_top_n() == 64


def test_parameters_have_the_names_of_torchvision():
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    with torch.device("meta"):
        theirs = maskrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=3
        ).state_dict()
        ours = MaskRCNN(
            backbone="resnet50",
            channels=256,
            stem_stride=2,
            n_bands=3,
            n_classes=2,
            anchor_sizes=[1] * 5,
        ).state_dict()
    own = {
        name: tensor.shape
        for name, tensor in ours.items()
        if not name.endswith("num_batches_tracked")
    }
    assert own == {
        name: tensor.shape
        for name, tensor in theirs.items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize(
    ("name", "stem_stride", "finest"), [("resnet10", 1, 32), ("resnet10", 2, 16), ("unet", 1, 32)]
)
def test_pyramid(name, stem_stride, finest):
    backbone = make_backbone(name, n_bands=2, stem_stride=stem_stride, channels=4).eval()
    levels = backbone(torch.zeros(1, 2, 64, 64))
    assert [features.shape[-1] for features in levels.values()] == [
        finest >> level for level in range(5)
    ]
    assert {features.shape[1] for features in levels.values()} == {4}


def test_a_stem_for_other_bands_answers_alike():
    weight = torch.randn(4, 3, 7, 7)
    assert widen_stem(weight, 3) is weight
    grey = torch.randn(1, 1, 7, 7)
    for n_bands in (1, 2, 5):
        wide = widen_stem(weight, n_bands)
        assert wide.shape == (4, n_bands, 7, 7)
        expected = (weight * grey).sum(dim=(1, 2, 3))
        np.testing.assert_allclose((wide * grey).sum(dim=(1, 2, 3)), expected, rtol=1e-4, atol=1e-4)

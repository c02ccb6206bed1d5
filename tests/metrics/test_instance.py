import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve as binary_curve

from galaxysegment import Instances
from galaxysegment.metrics import (
    DetectionScores,
    average_precision,
    coco_summary,
    detection_scores,
    precision_recall_curve,
)


def pycocotools_tables(y_true, y_pred, kind, area_ranges=()):
    """Precision (iou, recall, class, area) and recall (iou, class, area) of pycocotools, fed with
    whole masks.
    """
    from pycocotools import mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def dataset(images):
        annotations = []
        for image_id, image in enumerate(images):
            for dense, box, score, class_id in zip(
                image.masks, image.boxes.tolist(), image.scores, image.classes, strict=True
            ):
                y0, x0, y1, x1 = box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": int(class_id),
                        "segmentation": mask.encode(np.asfortranarray(dense.astype(np.uint8))),
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": int(dense.sum()),
                        "iscrowd": 0,
                        "score": float(score),
                    }
                )
        coco = COCO()
        sizes = [
            {"id": k, "height": image.shape[0], "width": image.shape[1]}
            for k, image in enumerate(images)
        ]
        coco.dataset = {
            "images": sizes,
            "categories": [{"id": 1}, {"id": 2}],
            "annotations": annotations,
        }
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(dataset(y_true), dataset(y_pred), kind)
        evaluation.params.maxDets = [10_000]
        evaluation.params.areaRng = [[0, 1e10], *area_ranges]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][..., 0], evaluation.eval["recall"][..., 0]


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(8))
def test_average_precision_equals_that_of_pycocotools(make_pair, kind, seed):
    y_true, y_pred = make_pair(seed)
    precision, _ = pycocotools_tables(y_true, y_pred, kind)
    precision = precision[..., 0]
    assert 0 < precision.mean() < 1
    assert average_precision(y_true, y_pred, kind=kind) == pytest.approx(precision.mean(), abs=1e-9)
    assert average_precision(y_true, y_pred, kind=kind, iou=0.75) == pytest.approx(
        precision[5].mean(), abs=1e-9
    )
    assert average_precision(y_true, y_pred, kind=kind, iou=[0.5, 0.6]) == pytest.approx(
        precision[[0, 2]].mean()
    )
    for k in (0, 1):
        one_class = average_precision(y_true, y_pred, kind=kind, class_id=k + 1)
        assert one_class == pytest.approx(precision[:, :, k].mean(), abs=1e-9)


def intervals(rng, n):
    """Sources of 4 to 6 pixels in one row of 16: many pairs of them have the same IoU."""
    length = rng.integers(4, 7, n)
    start = rng.integers(0, 17 - length)
    boxes = [(0, x, 1, x + width) for x, width in zip(start, length, strict=True)]
    crops = [np.ones((1, width), dtype=bool) for width in length]
    return Instances((1, 16), boxes, crops, rng.integers(1, 4, n) / 4, np.ones(n, dtype=int))


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("iou", [0.5, 0.6])
def test_the_order_of_matches_at_equal_iou_and_score_is_that_of_pycocotools(kind, iou):
    rng = np.random.default_rng(7)
    n_ties = 0
    for _ in range(60):
        y_true, y_pred = [intervals(rng, 5)], [intervals(rng, 6)]
        precision, recall = pycocotools_tables(y_true, y_pred, kind)
        k = round((iou - 0.5) / 0.05)
        value = average_precision(y_true, y_pred, kind=kind, iou=iou, class_id=1)
        assert value == pytest.approx(precision[k, :, 0, 0].mean(), abs=1e-9)
        swapped = [y_true[0].select(np.arange(5)[::-1])]
        n_ties += value != average_precision(swapped, y_pred, kind=kind, iou=iou, class_id=1)
        summary = coco_summary(y_true, y_pred, kind=kind)
        assert summary["AP"] == pytest.approx(precision[:, :, 0, 0].mean(), abs=1e-9)
        assert summary["AR"] == pytest.approx(recall[:, 0, 0].mean(), abs=1e-9)
    assert n_ties > 1  # the order of the true sources does matter here


def test_of_equal_ious_the_later_true_source_is_taken():
    """The first prediction overlaps both true sources alike.

    COCOeval gives it the second of them.
    """
    pixels = {
        "truth": [(0, 4), (4, 8)],
        "found": [(2, 6), (4, 8)],
    }
    y_true, y_pred = (
        Instances((1, 8), [(0, a, 1, b) for a, b in spans], [np.ones((1, 4), bool)] * 2, scores)
        for spans, scores in zip(pixels.values(), ([1, 1], [0.9, 0.8]), strict=True)
    )
    precision, recall, thresholds = precision_recall_curve(y_true, y_pred, iou=0.3)
    assert thresholds.tolist() == [0.8, 0.9]
    assert precision.tolist() == [0.5, 1.0, 1.0]
    assert recall.tolist() == [0.5, 0.5, 0.0]
    later_first = y_true.select(np.array([1, 0]))
    assert precision_recall_curve(later_first, y_pred, iou=0.3)[1].tolist() == [1.0, 0.5, 0.0]
    assert detection_scores(y_true, y_pred, 0.3).n_matched == 2  # the matching there is optimal


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(4))
def test_coco_summary_equals_plain_pycocotools(make_pair, kind, seed, capsys):
    y_true, y_pred = make_pair(seed, n_sources=40, shape=(80, 90))
    summary = coco_summary(y_true, y_pred, kind=kind, per_class=True, by="area", n_bins=3)
    areas = np.concatenate([sources.areas for sources in y_true])
    low, high = np.quantile(areas, [1 / 3, 2 / 3])
    below = np.nextafter([low, high], 0)  # our bins are half-open, COCO's ranges are closed
    ranges = [[0, below[0]], [low, below[1]], [high, 1e10]]
    capsys.readouterr()
    precision, recall = pycocotools_tables(y_true, y_pred, kind, ranges)
    expected = {
        "all": (precision[..., 0], recall[..., 0]),
        "galaxy": (precision[:, :, :1, 0], recall[:, :1, 0]),
        "star": (precision[:, :, 1:, 0], recall[:, 1:, 0]),
    }
    names = [name for name in summary.rows if name.startswith("area")]
    assert len(names) == 3
    expected |= {name: (precision[..., k], recall[..., k]) for k, name in enumerate(names, start=1)}
    assert list(summary.rows) == list(expected)
    for name, (p, r) in expected.items():
        row = summary.rows[name]
        values = [
            p[p > -1].mean(),
            p[0][p[0] > -1].mean(),
            p[5][p[5] > -1].mean(),
            r[r > -1].mean(),
        ]
        assert [row[key] for key in ("AP", "AP50", "AP75", "AR")] == pytest.approx(
            values, abs=1e-9
        ), name
    assert sum(summary.rows[name]["n_true"] for name in names) == len(areas) == summary["n_true"]


def test_coco_summary_is_quiet_and_prints_as_a_table(make_pair, capsys):
    y_true, y_pred = make_pair(0)
    summary = coco_summary(y_true, y_pred, per_class=True)
    assert capsys.readouterr().out == ""
    assert dict(summary) == summary.rows["all"]
    assert set(summary) == {"AP", "AP50", "AP75", "AR", "n_true"}
    assert summary["AP"] == pytest.approx(average_precision(y_true, y_pred))
    lines = str(summary).splitlines()
    assert [line.split()[0] for line in lines] == ["AP", "all", "galaxy", "star"]
    assert lines[1].split()[1] == f"{summary['AP']:.3f}"


def test_the_table_is_aligned():
    """Names to the left, numbers to the right, each column as wide as its widest cell."""
    labels = np.arange(1, 151).reshape(10, 15)
    lines = str(coco_summary(labels, labels, by="area", n_bins=1)).split("\n")
    assert lines == [
        "             AP   AP50   AP75     AR  n_true",
        "all       1.000  1.000  1.000  1.000     150",
        "area 1–1  1.000  1.000  1.000  1.000     150",
    ]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_coco_summary_by_a_flag(dtype):
    labels = np.array([[1, 0, 2, 0, 3]])
    flags = [np.array([0, 1, 1], dtype=dtype)]
    summary = coco_summary(labels, np.where(labels == 1, 0, labels), by=flags, n_bins=2)
    assert [row["n_true"] for row in summary.rows.values()] == [3, 3]  # one bin: 0–1 in halves
    assert summary["AR"] == pytest.approx(2 / 3)


def test_coco_summary_hides_no_source():
    labels = np.arange(1, 401, dtype=np.int32).reshape(
        20, 20
    )  # 400 sources: COCO's own table stops at 100
    assert coco_summary(labels, labels)["AR"] == 1


def test_coco_summary_by_a_quantity_of_ones_own():
    labels = np.array([[1, 0, 2, 0, 3, 0, 4]])
    predicted = np.array([[1, 0, 0, 0, 2, 0, 3]])
    noise = [np.array([1.0, 2.0, 30.0, 40.0])]
    summary = coco_summary(labels, predicted, by=noise, n_bins=2)
    faint, bright = list(summary.rows)[1:]
    assert (summary.rows[faint]["AR"], summary.rows[bright]["AR"]) == (0.5, 1.0)
    wrong = np.array([[1, 0, 0, 4, 2, 0, 3]])  # label 4 is a false source
    without = coco_summary(labels, wrong, by=noise, n_bins=2).rows
    placed = coco_summary(
        labels, wrong, by=noise, by_pred=[np.array([1.0, 30.0, 40.0, 1.5])], n_bins=2
    ).rows
    assert without[bright]["AP"] <= placed[bright]["AP"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "flux"}, "by must be None, 'area' or a list.*Got 'flux'"),
        ({"by": [np.ones(3)]}, r"by\[0\] has shape \(3,\) for 2 sources"),
        ({"by": [np.ones(2)] * 2}, "by holds 2 arrays for 1 images"),
        (
            {"by": [np.ones(2)], "by_pred": [np.ones(1)]},
            r"by_pred\[0\] has shape \(1,\) for 2 sources",
        ),
        ({"by": "area", "n_bins": 0}, "n_bins must be a whole number of at least 1. Got 0"),
        ({"kind": "mask"}, "kind must be"),
    ],
)
def test_coco_summary_refuses(options, message):
    labels = np.array([[1, 0, 2]])
    with pytest.raises(ValueError, match=message):
        coco_summary(labels, labels, **options)


def test_empty_truth_has_no_average_precision():
    empty, square = np.zeros((3, 3), dtype=int), np.eye(3, dtype=int)
    assert np.isnan(average_precision(empty, square))
    assert np.isnan(average_precision(empty, empty))
    assert average_precision(square, empty) == 0
    assert np.isnan(coco_summary(empty, square, per_class=True, by="area")["AP"])
    assert coco_summary(square, empty)["AP"] == 0


def test_classes_count_only_where_both_sides_tell_them_apart():
    truth = np.array([[1, 1, 0, 2, 2]])
    told = Instances.from_label_map(truth, classes=[1, 2])
    swapped = Instances.from_label_map(truth, classes=[2, 1])
    assert average_precision(told, swapped) == 0
    assert coco_summary(told, swapped)["AP"] == 0
    assert (
        average_precision(truth, swapped) == coco_summary(truth, swapped)["AP"] == pytest.approx(1)
    )
    # A source without a class counts as a galaxy where one class is asked for.
    assert average_precision(truth, told, class_id=1) < 1
    assert detection_scores(told, swapped).f1 == 1
    assert detection_scores(told, swapped, class_id=2).f1 == 0


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.5, 0.75]))
@settings(max_examples=40, deadline=None)
def test_curve_agrees_with_detections_at_every_cut(seed, iou):
    rng = np.random.default_rng(seed)
    labels = np.zeros((30, 30), dtype=np.int32)  # sources far apart: matching is unambiguous
    for label, (y, x) in enumerate(np.argwhere(rng.random((6, 6)) < 0.5) * 5, start=1):
        labels[y : y + 3, x : x + 3] = label
    truth = Instances.from_label_map(labels)
    jitter = [
        part.shift(0, rng.integers(0, 3)) for part in (truth.select([k]) for k in range(len(truth)))
    ]
    boxes = np.concatenate([np.zeros((0, 4), int), *[part.boxes for part in jitter]])
    crops = [crop for part in jitter for crop in part.crops]
    detections = Instances(truth.shape, boxes, crops, np.round(rng.random(len(boxes)), 1))
    precision, recall, thresholds = precision_recall_curve(truth, detections, iou=iou)
    assert (precision[-1], recall[-1]) == (1, 0)
    assert (np.diff(thresholds) > 0).all()
    for k, threshold in enumerate(thresholds):
        scores = detection_scores(truth, detections.select(detections.scores >= threshold), iou)
        assert (precision[k], recall[k]) == pytest.approx((scores.precision, scores.recall))


def test_curve_equals_that_of_scikit_learn():
    truth = np.zeros((1, 40), dtype=np.int32)
    truth[0, ::4] = np.arange(1, 11)
    scores = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    real = np.array([1, 1, 0, 1, 0, 0, 1, 1, 0, 1])
    boxes = [(0, 4 * k + 1 - r, 1, 4 * k + 2 - r) for k, r in enumerate(real)]
    detections = Instances((1, 40), boxes, [np.ones((1, 1), bool)] * 10, scores)
    precision, recall, thresholds = precision_recall_curve(truth, detections)
    expected_precision, expected_recall, expected_thresholds = binary_curve(real, scores)
    np.testing.assert_allclose(precision, expected_precision)
    np.testing.assert_allclose(thresholds, expected_thresholds)
    np.testing.assert_allclose(
        recall * 10, expected_recall * real.sum()
    )  # theirs counts the found ones only


def test_curve_without_sources():
    empty, square = np.zeros((3, 3), dtype=int), np.eye(3, dtype=int)
    precision, recall, thresholds = precision_recall_curve(square, empty)
    assert (precision.tolist(), recall.tolist(), thresholds.tolist()) == ([1], [0], [])
    assert np.isnan(precision_recall_curve(empty, square)[1][0])


def test_detection_scores_of_several_images():
    y_true = [np.array([[1, 0, 2]]), np.array([[1, 0, 0]]), np.array([[0, 0, 0]])]
    y_pred = [np.array([[1, 2, 0]]), np.array([[1, 0, 0]]), np.array([[0, 0, 0]])]
    pooled = detection_scores(y_true, y_pred)
    assert pooled == DetectionScores(2 / 3, 2 / 3, 2 / 3, 3, 3, 2)
    each = detection_scores(y_true, y_pred, average=None)
    assert [scores.f1 for scores in each] == [0.5, 1, 1]
    assert (each[0].n_true, each[0].n_pred, each[0].n_matched) == (2, 2, 1)
    mean = detection_scores(y_true, y_pred, average="images")
    assert (mean.precision, mean.n_true) == (pytest.approx(2.5 / 3), 3)


def test_detection_scores_without_sources():
    empty, square = np.zeros((3, 3), dtype=int), np.eye(3, dtype=int)
    assert detection_scores(empty, empty) == DetectionScores(1, 1, 1, 0, 0, 0)
    assert detection_scores(square, empty) == DetectionScores(0, 0, 0, 1, 0, 0)
    assert detection_scores(empty, square) == DetectionScores(0, 0, 0, 0, 1, 0)


def test_boxes_may_agree_where_masks_do_not():
    truth, predicted = np.eye(4, dtype=int), np.eye(4, dtype=int)[::-1]
    assert detection_scores(truth, predicted).f1 == 0
    assert detection_scores(truth, predicted, kind="bbox").f1 == 1
    assert average_precision(truth, predicted, kind="bbox") == pytest.approx(1)


@pytest.mark.parametrize("iou", [0, -0.1, 1.1, "half", np.nan])
def test_iou_is_checked(iou):
    labels = np.eye(3, dtype=int)
    for score in (
        lambda: detection_scores(labels, labels, iou),
        lambda: precision_recall_curve(labels, labels, iou=iou),
        lambda: average_precision(
            labels, labels, iou=[0.5, iou] if not isinstance(iou, str) else iou
        ),
    ):
        with pytest.raises(ValueError, match="iou must be above 0 and at most 1"):
            score()


def test_average_is_checked():
    with pytest.raises(ValueError, match=r"average must be one of .*Got .pixels."):
        detection_scores(np.eye(3, dtype=int), np.eye(3, dtype=int), average="pixels")


def test_scores_are_printed_rounded():
    scores = DetectionScores(2 / 3, 0.5, 4 / 7, 4, 3, 2)
    assert str(scores) == (
        "F1 0.571, precision 0.667, recall 0.500 (2 matched of 3 predicted and 4 true sources)"
    )
    assert "precision=0.6666666666666666" in repr(scores)

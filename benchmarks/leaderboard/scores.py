"""What is computed from the predictions of a system: every number of a result."""

import numpy as np

from galaxysegment import metrics
from galaxysegment.metrics._matching import best_pairs, find_overlaps
from galaxysegment.structures import Instances

#: Edges of the bins of signal to noise, magnitude and separation.
SNR_EDGES = (0, 7, 10, 15, 25, 50, 100, np.inf)
MAG_EDGES = (-np.inf, 22, 23, 24, 24.5, 25, 25.5, 26, np.inf)
#: Pixels of a true mask; 1024 and 9216 part COCO's small, medium and large objects.
AREA_EDGES = (0, 20, 50, 100, 200, 1024, 9216, np.inf)
SEPARATION_EDGES = (0, 4, 8, 12, 16, 24, np.inf)
PIXEL_SCORES = ("iou", "recall", "dice", "accuracy", "precision")


def evaluate(patches, predicted, setting, candidates=None):
    """Score predictions.

    Parameters
    ----------
    patches : Patches
    predicted : list of Instances
        Sources of each patch; pixels, detections and panoptic quality are scored on them.
    setting : Setting
    candidates : list of Instances, optional
        If a system cuts its sources at a score: also those below the cut, because average
        precision ranks them.

    Returns
    -------
    dict
        Numbers, strings, lists and dicts of them.
    """
    predicted = ranked(predicted, patches.X, setting)
    counted, seen = count_sources(patches.truth, predicted, setting.n_pixels)
    truth, snr, mag = select(patches, counted)
    every = (
        seen
        if candidates is None
        else count_sources(patches.truth, candidates, setting.n_pixels)[1]
    )
    told_apart = setting.classes and all(prediction.classes is not None for prediction in predicted)
    result = {
        "n_test": len(patches),
        "pixels": pixel_scores(patches, predicted, setting.n_pixels),
        "sources": detection(truth, seen),
        "sources of 20 pixels": detection(*large_sources(patches, predicted)),
        "segm": coco(truth, every, "segm", told_apart),
        "bbox": coco(truth, every, "bbox", told_apart),
        "panoptic": panoptic(patches, predicted, setting, told_apart),
        **completeness(truth, seen, snr, mag, patches.X, setting),
    }
    if setting.classes:
        result["curves"] = curves(truth, every, told_apart)
    if setting.name == "B":
        result["separation"] = by_separation(truth, seen)
    return result


# ---- which sources count, and in which order ----


def ranked(predicted, images, setting):
    """Give the sources of a program without scores the signal-to-noise ratio of their pixels.

    Segmenters of galaxysegment have scores. A program without scores gives each source a 1.
    """
    if any((sources.scores != 1).any() for sources in predicted):
        return predicted
    return [
        Instances(
            sources.shape,
            sources.boxes,
            sources.crops,
            signal_to_noise(sources, image, setting),
            sources.classes,
        )
        for sources, image in zip(predicted, images, strict=True)
    ]


def signal_to_noise(predicted, image, setting):
    """Signal-to-noise ratio of each source in those of its pixels that have data, measured on the
    image.
    """
    bands = image.reshape(-1, *image.shape[-2:]).astype(np.float64)
    if setting.rms_band is None:
        centre = np.nanmedian(bands[0])
        noise = np.full(bands.shape[1:], 1.4826 * np.nanmedian(np.abs(bands[0] - centre)))
        science = bands[0]
    else:
        noise = bands[-1] / np.sqrt(len(bands) - 1)
        science = bands[:-1].mean(axis=0)
    science = science - np.nanmedian(science)
    ratios = []
    for (y0, x0, y1, x1), crop in zip(predicted.boxes.tolist(), predicted.crops, strict=True):
        window = slice(y0, y1), slice(x0, x1)
        light, spread = science[window][crop], noise[window][crop]
        ratios.append(np.nansum(light) / np.sqrt(np.nansum(spread**2)))
    return np.array(ratios)


def count_sources(truth, detected, n_pixels):
    """Say which true sources count, and leave out the predictions that lie on those that do not.

    Returns
    -------
    counted : list of ndarray of bool
    seen : list of Instances
    """
    counted = [sources.areas >= n_pixels for sources in truth]
    seen = []
    for image, keep, predicted in zip(truth, counted, detected, strict=True):
        if keep.all():
            seen.append(predicted)
            continue
        seen.append(predicted.select(~mostly_inside(predicted, uncounted(image, n_pixels))))
    return counted, seen


def uncounted(truth, n_pixels):
    """Pixels of the sources that do not count, where no other one lies."""
    keep = truth.areas >= n_pixels
    return truth.select(~keep).to_mask() & ~truth.select(keep).to_mask()


def mostly_inside(predicted, mask):
    """Whether more than half of the pixels of each source lie in a mask."""
    shares = [
        mask[y0:y1, x0:x1][crop].mean()
        for (y0, x0, y1, x1), crop in zip(predicted.boxes.tolist(), predicted.crops, strict=True)
    ]
    return np.array(shares) > 0.5


def select(patches, counted):
    """Truth, S/N and magnitudes of the sources that count."""
    truth = [sources.select(keep) for sources, keep in zip(patches.truth, counted, strict=True)]
    values = (
        [v[keep] for v, keep in zip(part, counted, strict=True)]
        for part in (patches.snr, patches.mag)
    )
    return truth, *values


def large_sources(patches, predicted, n_pixels=20):
    counted, seen = count_sources(patches.truth, predicted, n_pixels)
    return select(patches, counted)[0], seen


# ---- the scores ----


def pixel_scores(patches, predicted, n_pixels):
    """Scores of the galaxy pixels, means over patches and pooled.

    Those of sources that do not count are left out.
    """
    truth = [sources.select(sources.areas >= n_pixels) for sources in patches.truth]
    ignore = [uncounted(sources, n_pixels) for sources in patches.truth]
    scores = {name: getattr(metrics, f"{name}_score") for name in PIXEL_SCORES}
    return {
        "mean": {name: score(truth, predicted, ignore=ignore) for name, score in scores.items()},
        "pooled": {
            name: score(truth, predicted, ignore=ignore, average="pixels")
            for name, score in scores.items()
        },
    }


def quality(patches, predicted, n_pixels):
    """What parameters are chosen by: pooled pixel IoU plus source F1, of the sources that count."""
    counted, seen = count_sources(patches.truth, predicted, n_pixels)
    truth = select(patches, counted)[0]
    ignore = [uncounted(sources, n_pixels) for sources in patches.truth]
    iou = metrics.iou_score(truth, predicted, ignore=ignore, average="pixels")
    return iou + detection(truth, seen)["f1"]


def detection(truth, predicted):
    scores = metrics.detection_scores(truth, predicted)
    return {
        name: getattr(scores, name)
        for name in ("precision", "recall", "f1", "n_true", "n_pred", "n_matched")
    }


def coco(truth, predicted, kind, told_apart):
    """All sources alike, and each class where the system tells them apart."""
    rows = (
        metrics.coco_summary(truth, predicted, kind=kind, per_class=True).rows if told_apart else {}
    )
    alike = metrics.coco_summary(*all_alike(truth, predicted), kind=kind).rows
    return {name: dict(row) for name, row in {**rows, "all": alike["all"]}.items()}


def all_alike(truth, predicted):
    return tuple([without_classes(item) for item in group] for group in (truth, predicted))


def without_classes(sources):
    return Instances(sources.shape, sources.boxes, sources.crops, sources.scores)


def panoptic(patches, predicted, setting, told_apart):
    """Panoptic quality; pixels of true sources that do not count are void."""
    truth = []
    for sources in patches.truth:
        keep = sources.areas >= setting.n_pixels
        painted = (sources if told_apart else without_classes(sources)).select(keep).to_panoptic()
        if not keep.all():
            painted[0][sources.select(~keep).to_mask() & (painted[1] == 0)] = -1
        truth.append(painted)
    quality = metrics.panoptic_quality(
        truth,
        predicted if told_apart else [without_classes(prediction) for prediction in predicted],
    )
    names = {0: "sky", 1: "galaxy", 2: "star"}
    rows = {
        "all": quality.all,
        **{names[item]: row for item, row in quality.per_class.items() if item in names},
    }
    return {name: {"PQ": row.pq, "SQ": row.sq, "RQ": row.rq} for name, row in rows.items()}


def matches(truth, predicted, iou=0.5):
    """Which true and which predicted sources are matched: two lists of boolean arrays."""
    overlaps = find_overlaps(truth, predicted)
    pairs = best_pairs(overlaps, iou)
    hit = np.zeros(len(overlaps.true), dtype=bool), np.zeros(len(overlaps.pred), dtype=bool)
    hit[0][overlaps.i[pairs]] = True
    hit[1][overlaps.j[pairs]] = True
    return tuple(
        np.split(item, np.cumsum([len(image) for image in images])[:-1])
        for item, images in zip(hit, (truth, predicted), strict=True)
    )


def completeness(truth, predicted, snr, mag, X, setting):
    """Completeness against S/N, magnitude and area of the true sources, purity against S/N of the
    predicted.
    """
    true_hit, pred_hit = (np.concatenate(item) for item in matches(truth, predicted))
    measured = [
        signal_to_noise(prediction, image, setting)
        for prediction, image in zip(predicted, X, strict=True)
    ]
    return {
        "completeness by snr": binned(np.concatenate(snr), true_hit, SNR_EDGES),
        "completeness by mag": binned(np.concatenate(mag), true_hit, MAG_EDGES),
        "completeness by area": binned(
            np.concatenate([sources.areas for sources in truth]), true_hit, AREA_EDGES
        ),
        "purity by snr": binned(np.concatenate([np.zeros(0), *measured]), pred_hit, SNR_EDGES),
    }


def binned(values, hits, edges):
    """Numbers of sources and of matched ones in bins."""
    edges = np.asarray(edges, dtype=float)
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    n = np.bincount(index, minlength=len(edges) - 1)
    n_hit = np.bincount(index, weights=hits, minlength=len(edges) - 1).astype(int)
    return {"edges": [float(item) for item in edges], "n": n.tolist(), "n_hit": n_hit.tolist()}


def by_separation(truth, predicted):
    """Recall, and pairs of which both are found, against the distance between the centres of the
    masks.
    """
    hits, _ = matches(truth, predicted)
    distance = np.array(
        [np.hypot(*(item - two)) for item, two in (centres(image)[:2] for image in truth)]
    )
    both = np.array([item.all() for item in hits])
    each = np.concatenate(hits)
    counts = [len(item) for item in hits]
    return {
        "sources": binned(np.repeat(distance, counts), each, SEPARATION_EDGES),
        "both": binned(distance, both, SEPARATION_EDGES),
    }


def centres(sources):
    """Mean positions of the pixels of each source, (n, 2)."""
    predicted = []
    for (y0, x0, _, _), crop in zip(sources.boxes.tolist(), sources.crops, strict=True):
        rows, columns = np.nonzero(crop)
        predicted.append((y0 + rows.mean(), x0 + columns.mean()))
    return np.array(predicted).reshape(-1, 2)


def curves(truth, predicted, told_apart):
    """Precision against recall at an IoU of 0.5, and AP against the IoU.

    Of all sources alike, and of each class.
    """
    result = {"all": curve(*all_alike(truth, predicted))}
    if told_apart:
        result |= {
            name: curve(truth, predicted, class_id)
            for name, class_id in (("galaxy", 1), ("star", 2))
        }
    return result


def curve(truth, predicted, class_id=None):
    thresholds = [round(item, 2) for item in np.arange(0.5, 1.0, 0.05)]
    precision, recall, _ = metrics.precision_recall_curve(truth, predicted, class_id=class_id)
    keep = np.unique(
        np.linspace(0, len(recall) - 1, 100).astype(int)
    )  # a hundred points draw the curve
    return {
        "recall": [round(float(item), 4) for item in recall[keep]],
        "precision": [round(float(item), 4) for item in precision[keep]],
        "iou": thresholds,
        "AP": [
            metrics.average_precision(truth, predicted, iou=item, class_id=class_id)
            for item in thresholds
        ],
    }

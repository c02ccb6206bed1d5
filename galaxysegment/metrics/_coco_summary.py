"""COCO's table of scores, computed by pycocotools itself."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse import csgraph

from ..structures import GALAXY
from ..structures._rle import encode_crop
from ..structures._types import Sources
from ._inputs import check_pair
from ._matching import as_instances, as_sources, find_overlaps
from ._table import class_name, format_table

__all__ = ["CocoSummary", "coco_summary"]

_COLUMNS = ("AP", "AP50", "AP75", "AR", "n_true")
# Sources per image given to COCOeval: its time grows with the square of their number.
_GROUP_SIZE = 16


class CocoSummary(Mapping):
    """COCO's scores as a mapping, ``summary["AP50"]``; print it to see the table.

    Parameters
    ----------
    rows : dict of str to dict
        Row name to ``{"AP": …, "AP50": …, "AP75": …, "AR": …, "n_true": …}``. The row ``"all"`` is
        the mapping itself; the other rows are classes and bins.
    """

    def __init__(self, rows: dict[str, dict[str, float]]) -> None:
        self.rows = rows

    def __getitem__(self, key: str) -> float:
        return self.rows["all"][key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows["all"])

    def __len__(self) -> int:
        return len(self.rows["all"])

    def __repr__(self) -> str:
        return format_table(_COLUMNS, {name: row.values() for name, row in self.rows.items()})


def coco_summary(
    y_true: Sources,
    y_pred: Sources,
    *,
    kind: str = "segm",
    per_class: bool = False,
    by: str | Sequence[ArrayLike] | None = None,
    by_pred: Sequence[ArrayLike] | None = None,
    n_bins: int = 4,
) -> CocoSummary:
    """COCO's AP, AP50, AP75 and AR [1]_ of all sources, computed by pycocotools.

    COCO's own table counts at most 100 predictions per image and splits sources at 32² and 96²
    pixels, so nearly every galaxy is "small". Here every prediction counts, and `by` splits the
    true sources at quantiles.

    Parameters
    ----------
    y_true, y_pred : array of shape (height, width) or (n_images, height, width), Instances, or list
        As in `average_precision`. Classes count if truth and prediction both have them.
    kind : {"segm", "bbox"}, default="segm"
        Compare masks or bounding boxes.
    per_class : bool, default=False
        Add a row for each class.
    by : "area" or list of array, optional
        Add rows for bins of the true sources, by their area in pixels or by a quantity of your own,
        such as the signal-to-noise ratio: one array per image with one value per true source. As in
        COCO, a prediction without a match counts in its own bin.
    by_pred : list of array, optional
        The same quantity for the predicted sources. Without it, unmatched predictions count in
        every bin: the AP of a bin is then a lower limit, so compare the AR. Not used with
        ``by="area"``.
    n_bins : int, default=4
        Number of bins, with equal numbers of true sources; fewer where values are equal.

    Returns
    -------
    CocoSummary
        Mapping with the keys ``AP`` (mean over IoU .50:.05:.95), ``AP50``, ``AP75``, ``AR``
        (largest recall, mean over IoU) and ``n_true``. ``rows`` holds the same for classes and
        bins. A score without a true source is NaN.

    Raises
    ------
    ValueError
        If numbers of images, shapes, or lengths of `by` differ.

    See Also
    --------
    average_precision : Faster, for one number.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014,
       :doi:`10.1007/978-3-319-10602-1_48`

    Examples
    --------
    >>> from galaxysegment.metrics import coco_summary
    >>> coco_summary([[1, 1, 0, 2, 2, 2]], [[1, 1, 0, 2, 2, 0]], by="area", n_bins=2)
                   AP   AP50   AP75     AR  n_true
    all         0.703  1.000  0.505  0.700       2
    area 2–2.5  1.000  1.000  1.000  1.000       1
    area 2.5–3  0.400  1.000  0.000  0.400       1
    """
    y_true, y_pred = check_pair(y_true, y_pred)
    y_true = [as_instances(as_sources(y, f"y_true[{index}]")) for index, y in enumerate(y_true)]
    y_pred = [as_instances(as_sources(y, f"y_pred[{index}]")) for index, y in enumerate(y_pred)]
    overlaps = find_overlaps(y_true, y_pred, kind)
    true_bins, pred_bins, bin_names = _bins(overlaps, by, by_pred, n_bins)
    true_classes, pred_classes = _classes(overlaps)
    class_ids = np.unique(true_classes).tolist()
    precision, recall = np.full((10, 101, 0, 0), np.nan), np.full((10, 0, 0), np.nan)
    if class_ids:
        true_groups, pred_groups, images = _groups(overlaps, y_true)
        truth = _annotations(y_true, kind, true_groups, true_classes, true_bins)
        predicted = _annotations(
            y_pred, kind, pred_groups, pred_classes, pred_bins, _ranks(overlaps.pred.scores)
        )
        precision, recall = _evaluate(images, class_ids, truth, predicted, kind, len(bin_names))
    rows = {"all": _row(precision[..., :1], recall[..., :1], len(true_bins))}
    for k, class_id in enumerate(class_ids if per_class else []):
        n_true = np.count_nonzero(true_classes == class_id)
        rows[class_name(class_id)] = _row(precision[..., [k], :1], recall[..., [k], :1], n_true)
    for a, name in enumerate(bin_names, start=1):
        rows[name] = _row(
            precision[..., [a]], recall[..., [a]], np.count_nonzero(true_bins == a - 1)
        )
    return CocoSummary(rows)


def _classes(overlaps):
    if overlaps.true.told_apart and overlaps.pred.told_apart:
        return overlaps.true.classes, overlaps.pred.classes
    return (np.full(len(side), GALAXY) for side in (overlaps.true, overlaps.pred))


def _bins(overlaps, by, by_pred, n_bins):
    """Bin of each true and each predicted source (NaN if unknown), and the names of the bins."""
    if by is None:
        return np.zeros(len(overlaps.true)), np.zeros(len(overlaps.pred)), []
    if isinstance(by, str):
        if by != "area":
            raise ValueError(
                f"by must be None, 'area' or a list with one array per image. Got {by!r} instead."
            )
        true, pred, name = overlaps.true.areas, overlaps.pred.areas, "area "
    else:
        true, name = _per_source(by, overlaps.true, overlaps.n_images, "by"), ""
        unknown = np.full(len(overlaps.pred), np.nan)
        pred = (
            unknown
            if by_pred is None
            else _per_source(by_pred, overlaps.pred, overlaps.n_images, "by_pred")
        )
    if not len(true):
        return true, pred, []
    if not isinstance(n_bins, Integral) or n_bins < 1:
        raise ValueError(f"n_bins must be a whole number of at least 1. Got {n_bins!r} instead.")
    edges = np.unique(np.quantile(true, np.linspace(0, 1, n_bins + 1)))
    inner = edges[1:-1]
    names = [
        f"{name}{low:.4g}–{high:.4g}"
        for low, high in zip([edges[0], *inner], [*inner, edges[-1]], strict=True)
    ]
    pred_bins = np.where(np.isnan(pred), np.nan, np.searchsorted(inner, pred, side="right"))
    return np.searchsorted(inner, true, side="right"), pred_bins, names


def _per_source(values, sources, n_images, name):
    """Join one array per image after checking that it has one number per source."""
    values = [np.asarray(numbers, dtype=np.float64) for numbers in values]
    if len(values) != n_images:
        raise ValueError(
            f"{name} holds {len(values)} arrays for {n_images} images: give one per image."
        )
    for index, (numbers, n) in enumerate(
        zip(values, np.bincount(sources.image, minlength=n_images), strict=True)
    ):
        if numbers.shape != (n,):
            raise ValueError(
                f"{name}[{index}] has shape {numbers.shape} for {n} sources: give one number per "
                "source."
            )
    return np.concatenate(values)


def _ranks(scores):
    """Replace the scores by distinct ranks, so that every sort keeps the order of equal scores."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = -np.arange(len(scores), dtype=np.float64)
    return ranks


def _groups(overlaps, images):
    """Split each image into groups of sources that could match; COCOeval sees a group as an image.

    Sources with an IoU of at most 0.4 match at no threshold. COCOeval need not compare them, which
    saves time.
    """
    n, m = len(overlaps.true), len(overlaps.pred)
    close = overlaps.iou > 0.4
    links = (overlaps.i[close], overlaps.j[close] + n)
    graph = sparse.coo_array((np.ones(len(links[0]), dtype=bool), links), shape=(n + m, n + m))
    n_components, component = csgraph.connected_components(graph, directed=False)
    image = np.zeros(n_components, dtype=np.int64)
    image[component] = np.concatenate([overlaps.true.image, overlaps.pred.image])
    order = np.argsort(image, kind="stable")
    sizes = np.bincount(component, minlength=n_components)[order]
    start = np.cumsum(sizes) - sizes
    first_of_image = start[np.searchsorted(image[order], image[order])]
    keys = np.stack([image[order], (start - first_of_image) // _GROUP_SIZE])
    keys, inverse = np.unique(keys, axis=1, return_inverse=True)
    group = np.empty(n_components, dtype=np.int64)
    group[order] = inverse.ravel() + 1
    shapes = [images[index].shape for index in keys[0].tolist()]
    entries = [
        {"id": k, "height": shape[0], "width": shape[1]} for k, shape in enumerate(shapes, start=1)
    ]
    return group[component[:n]], group[component[n:]], entries


def _annotations(images, kind, groups, classes, bins, scores=None):
    """Make COCO's annotations. The bin takes the place of the area, by which COCOeval selects."""
    annotations = []
    sources = (
        (image, box, crop)
        for image in images
        for box, crop in zip(image.boxes.tolist(), image.crops, strict=True)
    )
    columns = zip(sources, groups.tolist(), classes.tolist(), bins.tolist(), strict=True)
    for index, ((image, (y0, x0, y1, x1), crop), group, class_id, where) in enumerate(columns):
        entry = {
            "id": index + 1,
            "image_id": group,
            "category_id": class_id,
            "area": where,
            "iscrowd": 0,
        }
        entry["bbox"] = [x0, y0, x1 - x0, y1 - y0]
        if kind == "segm":
            entry["segmentation"] = {
                "size": list(image.shape),
                "counts": encode_crop((y0, x0, y1, x1), crop, image.shape),
            }
        if scores is not None:
            entry["score"] = scores[index]
        annotations.append(entry)
    return annotations


def _evaluate(images, class_ids, truth, predicted, kind, n_bins):
    """Run COCOeval; return its precision (iou, recall, class, bin) and recall (iou, class, bin)."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        sides = []
        for annotations in (truth, predicted):
            side = COCO()
            side.dataset = {
                "images": images,
                "annotations": annotations,
                "categories": [{"id": k} for k in class_ids],
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, iouType=kind)
        evaluation.params.maxDets = [max(len(predicted), 1)]
        evaluation.params.areaRng = [[-np.inf, np.inf], *([k, k] for k in range(n_bins))]
        evaluation.evaluate()
        evaluation.accumulate()
    scores = [
        np.where(values < 0, np.nan, values)[..., 0]
        for values in (evaluation.eval["precision"], evaluation.eval["recall"])
    ]
    return scores


def _row(precision, recall, n_true):
    values = precision, precision[0], precision[5], recall
    return dict(zip(_COLUMNS, [*map(_nanmean, values), int(n_true)], strict=True))


def _nanmean(values):
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")

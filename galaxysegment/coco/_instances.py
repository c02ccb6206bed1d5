"""The format of COCO's instance segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..structures import GALAXY, Instances, as_label_map
from ..structures._rle import decode_crop, decompress, encode_crop
from ..structures._types import Sources
from ._document import (
    UNCLASSIFIED,
    as_images,
    category_entries,
    check_classes,
    class_of,
    image_entries,
    image_of,
    need,
    need_list,
    read_categories,
    read_document,
    read_images,
    write_json,
)
from ._polygons import fill, outline

__all__ = ["from_coco", "to_coco"]

_LARGEST_SCORE = 1e300
# Pixels of all boxes of a document: a file of a few lines must not fill the memory.
_LARGEST_TOTAL = 2**32


def to_coco(
    y: Sources,
    *,
    images: Sequence[str] | None = None,
    categories: Mapping[int, str] | Sequence[Mapping[str, Any]] | None = None,
    segmentation: Literal["rle", "polygon"] = "rle",
    path: str | Path | None = None,
) -> dict[str, Any]:
    """Write sources in COCO's format for instances [1]_.

    Parameters
    ----------
    y : array of shape (n_images, height, width) or (n_images, 2, height, width), or list
        Label maps, boolean masks (split into connected components), panoptic maps or `Instances`.
    images : sequence of str, optional
        File name of every image; ``000000.fits`` and so on by default. Image ids count from 1.
    categories : dict of int to str, or list of dict, optional
        Name of every class, or COCO's entries. By default galaxy (1) and star (2); sources without
        a class are galaxies. If no source has a class, the only category is called "source".
    segmentation : {"rle", "polygon"}, default="rle"
        ``"rle"`` writes compressed run lengths, which are exact. ``"polygon"`` writes polygons
        along the pixel edges, which fill holes.
    path : str or path-like, optional
        Where to write the JSON file; it appears whole or not at all.

    Returns
    -------
    dict
        ``images``, ``categories`` and ``annotations``. Annotations also carry the ``score`` of
        their source, so that ``COCO.loadRes(document["annotations"])`` reads them as results.

    Raises
    ------
    ValueError
        If a class is not among the categories, or the number of names differs.

    See Also
    --------
    from_coco : The inverse; the round trip through run lengths is exact.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014,
       :doi:`10.1007/978-3-319-10602-1_48`

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.coco import to_coco
    >>> document = to_coco(np.array([[[0, 1, 1], [0, 1, 1]]]))
    >>> document["annotations"][0]["bbox"], document["annotations"][0]["area"]
    ([1, 0, 2, 2], 4)
    """
    if segmentation not in ("rle", "polygon"):
        raise ValueError(f"segmentation must be 'rle' or 'polygon'. Got {segmentation!r} instead.")
    sources = [_as_instances(image, f"y[{index}]") for index, image in enumerate(as_images(y))]
    if categories is None and all(image.classes is None for image in sources if len(image)):
        categories = {GALAXY: UNCLASSIFIED}
    entries = [{"supercategory": "source", **entry} for entry in category_entries(categories)]
    document = {
        "info": {"description": "Sources written by galaxysegment"},
        "images": image_entries(sources, images),
        "annotations": _annotations(sources, entries, segmentation),
        "categories": entries,
    }
    if path is not None:
        write_json(path, document)
    return document


def _annotations(sources, entries, segmentation):
    annotations = []
    for index, instances in enumerate(sources):
        classes = (
            np.full(len(instances), GALAXY) if instances.classes is None else instances.classes
        )
        check_classes(classes, entries, f"y[{index}]")
        masks = _polygons(instances) if segmentation == "polygon" else _run_lengths(instances)
        columns = (
            instances.boxes.tolist(),
            instances.areas.tolist(),
            classes.tolist(),
            instances.scores.tolist(),
            masks,
        )
        for (y0, x0, y1, x1), area, class_id, score, mask in zip(*columns, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,  # pycocotools takes 0 for "no match"
                    "image_id": index + 1,
                    "category_id": class_id,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": area,
                    "iscrowd": 0,
                    "segmentation": mask,
                    "score": score,
                }
            )
    return annotations


def _as_instances(sources, name):
    if isinstance(sources, Instances):
        return sources
    if sources.ndim == 3:
        return Instances.from_panoptic(sources)
    return Instances.from_label_map(as_label_map(sources, name))


def _run_lengths(instances):
    from pycocotools import mask

    height, width = instances.shape
    if height * width >= 2**32:
        raise ValueError(
            f"COCO's run lengths hold 32 bits: an image of shape {instances.shape} is too large, "
            "cut it in two."
        )
    counts = (
        encode_crop(box, crop, instances.shape)
        for box, crop in zip(instances.boxes.tolist(), instances.crops, strict=True)
    )
    runs = [{"size": [height, width], "counts": run} for run in counts]
    compressed = mask.frPyObjects(runs, height, width) if runs else []
    return [
        {"size": [height, width], "counts": rle["counts"].decode("ascii")} for rle in compressed
    ]


def _polygons(instances):
    return [
        outline(box, crop)
        for box, crop in zip(instances.boxes.tolist(), instances.crops, strict=True)
    ]


def from_coco(source: dict[str, Any] | str | Path, *, keep_crowds: bool = False) -> list[Instances]:
    """Read sources from COCO's format for instances.

    Parameters
    ----------
    source : dict, str or path-like
        The document, or the JSON file that holds it. Segmentations are polygons, run lengths or
        compressed run lengths.
    keep_crowds : bool, default=False
        Make a source of an annotation with ``iscrowd=1``, the outline of a group; otherwise it is
        left out.

    Returns
    -------
    list of Instances
        One for every entry of ``images``, in their order, with the sources in the order of the
        annotations. Sources without a score get 1. There are no classes if the only category is
        called "source".

    Raises
    ------
    ValueError
        If an entry lacks a key, refers to an unknown image or category, has broken run lengths or
        polygons, has no pixel, or lies outside its image. The message names the entry.
    FileNotFoundError
        If there is no such file.

    See Also
    --------
    to_coco : The inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from galaxysegment.coco import from_coco, to_coco
    >>> labels = np.array([[0, 1, 1], [0, 0, 2]])
    >>> from_coco(to_coco([labels]))[0].to_label_map().tolist()
    [[0, 1, 1], [0, 0, 2]]
    """
    document = read_document(source)
    images = read_images(document)
    names = {class_id: entry.get("name") for class_id, entry in read_categories(document).items()}
    sources: list[list[Any]] = [[] for _ in images]
    total = 0
    for index, annotation in enumerate(need_list(document, "annotations", "The COCO document")):
        where = _where(annotation, index)
        position, shape = image_of(annotation, images, where)
        class_id = class_of(annotation, names, where)
        if annotation.get("iscrowd", 0) and not keep_crowds:
            continue
        box, crop = _mask(annotation, shape, where)
        total += crop.size
        if total > _LARGEST_TOTAL:
            raise ValueError(
                f"The masks up to {where} fill boxes of {total} pixels in all: "
                "cut the document in parts."
            )
        sources[position].append((box, crop, _score(annotation, where), class_id))
    unclassified = list(names.values()) == [UNCLASSIFIED]
    return [_collect(sources[position], shape, unclassified) for position, shape in images.values()]


def _where(annotation, index):
    name = f"annotations[{index}]"
    return (
        f"{name} (id {annotation['id']!s:.60})"
        if isinstance(annotation, dict) and "id" in annotation
        else name
    )


def _mask(annotation, shape, where):
    """Box and crop of an annotation."""
    segmentation = need(annotation, "segmentation", where)
    try:
        _check_bbox(annotation.get("bbox"), shape)
        if isinstance(segmentation, list) and segmentation:
            return fill(segmentation, shape)
        if not isinstance(segmentation, dict) or "counts" not in segmentation:
            raise ValueError(
                "the segmentation is neither a list of polygons nor run lengths with counts"
            )
        size = segmentation.get("size")
        if size is not None and tuple(size) != shape:
            raise ValueError(
                f"the run lengths are for an image of shape {tuple(size)}, but it has shape {shape}"
            )
        counts = segmentation["counts"]
        return decode_crop(
            decompress(counts) if isinstance(counts, (str, bytes)) else counts, shape
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{where} has a broken mask: {error!s:.500}.") from error


def _check_bbox(bbox, shape):
    if bbox is None:
        return
    x, y, width, height = bbox
    # Other programs round boxes outwards: a pixel of tolerance.
    if not (
        x >= -1
        and y >= -1
        and x + width <= shape[1] + 1
        and y + height <= shape[0] + 1
        and min(width, height) >= 0
    ):
        raise ValueError(
            f"its bbox {list(bbox)} (x, y, width, height) is not inside the image of shape {shape}"
        )


def _score(annotation, where):
    score = annotation.get("score", 1.0)
    if not isinstance(score, Real) or not abs(score) <= _LARGEST_SCORE:
        raise ValueError(f"{where} has score {score!r:.60}: it must be a finite number.")
    return score


def _collect(sources, shape, unclassified):
    boxes, crops, scores, classes = zip(*sources, strict=True) if sources else ((), (), (), ())
    return Instances(shape, boxes, crops, scores, None if unclassified else classes)

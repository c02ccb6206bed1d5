"""The format of COCO's panoptic segmentation: a PNG of segment ids per image and one JSON."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..structures import GALAXY, VOID, Instances, as_label_map
from ..structures._types import Labels, Sources
from ._document import (
    as_images,
    check_classes,
    class_of,
    image_entries,
    image_of,
    listing,
    need,
    need_list,
    panoptic_categories,
    read_categories,
    read_document,
    read_images,
    write_json,
    write_whole,
)

__all__ = ["from_coco_panoptic", "to_coco_panoptic"]

_LARGEST_ID = 2**24 - 1
# Bytes that one byte of a PNG can unpack to.
_MOST_UNPACKED = 1_040
# Pillow's limit belongs to the whole process.
_PILLOW = threading.Lock()


def to_coco_panoptic(
    y: Sources,
    path: str | Path,
    *,
    images: Sequence[str] | None = None,
    categories: Mapping[int, str] | Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write panoptic maps in COCO's panoptic format [1]_: a JSON file and a folder of PNGs.

    The PNGs go into the folder that is called like the JSON file: ``annotations/name/`` for
    ``annotations/name.json``. The id of a segment, ``R + 256 G + 256² B`` in the PNG, is the
    instance id of a source. A class of stuff is a single segment with an id above all sources. Void
    is 0.

    Parameters
    ----------
    y : array of shape (n_images, 2, height, width) or (n_images, height, width), or list
        Class and instance id of every pixel; class -1 is void (no truth). Or label maps, boolean
        masks (split into connected components) or `Instances`: their sources are galaxies unless
        they have classes, and their background is sky (class 0).
    path : str or path-like
        The JSON file to write, ending in ``.json``. It is written last, and whole or not at all.
    images : sequence of str, optional
        File name of every image; ``000000.fits`` and so on by default. The PNG has the same name,
        ending in ``.png``.
    categories : dict of int to str, or list of dict, optional
        Name of every class, or COCO's entries with ``isthing`` and ``color``. By default sky (0,
        stuff), galaxy (1) and star (2), and the other kinds of stuff that `y` holds: artefact (3),
        trail (4), diffuse light (5) and cirrus (6). In a dict every class but 0 has things.

    Returns
    -------
    dict
        The content of the JSON file.

    Raises
    ------
    ValueError
        If a class is not among the categories, a pixel of a thing has no instance id, an instance
        has two classes or an id above 2²⁴ - 1, or names repeat.

    See Also
    --------
    from_coco_panoptic : The inverse; the round trip is exact.

    References
    ----------
    .. [1] A. Kirillov, K. He, R. Girshick, C. Rother, P. Dollár, "Panoptic Segmentation",
       CVPR 2019, :doi:`10.1109/CVPR.2019.00963`

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from galaxysegment.coco import to_coco_panoptic
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     document = to_coco_panoptic(np.array([[[0, 0, 1]]]), Path(folder) / "truth.json")
    ...     print(sorted(file.name for file in Path(folder).rglob("*")))
    ['000000.png', 'truth', 'truth.json']
    >>> document["annotations"][0]["segments_info"][0]
    {'id': 1, 'category_id': 1, 'area': 1, 'bbox': [2, 0, 1, 1], 'iscrowd': 0}
    """
    path = Path(path)
    if path.suffix != ".json":
        raise ValueError(
            "path must end in .json, because the PNGs go into the folder of the same name. "
            f"Got {str(path)!r}."
        )
    maps = [_as_panoptic(image, f"y[{index}]") for index, image in enumerate(as_images(y))]
    present = {code for semantic, _ in maps for code in np.unique(semantic).tolist()}
    entries = panoptic_categories(categories, present)
    stuff = [entry["id"] for entry in entries if not entry["isthing"]]
    document = {
        "info": {"description": "Panoptic maps written by galaxysegment"},
        "images": image_entries(maps, images),
        "categories": entries,
    }
    names = _png_names(document["images"])
    segmented = []
    for index, (semantic, labels) in enumerate(maps):
        check_classes(semantic[semantic != VOID], entries, f"y[{index}]")
        segmented.append(_segments(semantic, labels, stuff, f"y[{index}]"))
    document["annotations"] = [
        {"image_id": image["id"], "file_name": name, "segments_info": _segments_info(ids, classes)}
        for image, name, (ids, classes) in zip(document["images"], names, segmented, strict=True)
    ]
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, (ids, _) in zip(names, segmented, strict=True):
        write_whole(folder / name, _encode_png(ids))
    write_json(path, document)
    return document


def _as_panoptic(image, name):
    if isinstance(image, Instances):
        return image.to_panoptic()
    if image.ndim == 3:
        return np.stack([image[0].astype(np.int64), as_label_map(image[1], name)])
    labels = as_label_map(image, name)
    return np.stack([np.where(labels > 0, GALAXY, 0), labels])


def _png_names(images):
    names = [Path(image["file_name"]).with_suffix(".png").name for image in images]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"images would write {repeated[0]!r} twice: give every image a name of its own."
        )
    return names


def _segments(semantic, labels, stuff, name):
    """Segment id of every pixel, and ``{segment id: class}``."""
    is_stuff, is_void = np.isin(semantic, stuff), semantic == VOID
    ids = np.where(is_stuff | is_void, 0, labels).astype(np.int64)
    things = ~is_stuff & ~is_void
    if (ids[things] == 0).any():
        class_id = semantic[things][ids[things] == 0][0]
        raise ValueError(
            f"{name} has pixels of class {class_id} with instance id 0: ids of things count from 1."
        )
    first = int(ids.max(initial=0)) + 1
    present = [class_id for class_id in stuff if (semantic == class_id).any()]
    for segment, class_id in enumerate(present, start=first):
        ids[semantic == class_id] = segment
    if ids.max(initial=0) > _LARGEST_ID:
        raise ValueError(
            f"{name} needs segment ids up to {ids.max()}, but a PNG holds up to {_LARGEST_ID}: "
            "relabel it."
        )
    pairs = np.unique(np.stack([ids[things], semantic[things]]), axis=1).T.tolist()
    classes = dict(pairs)
    if len(classes) < len(pairs):
        twice = next(pair[0] for pair, following in pairwise(pairs) if pair[0] == following[0])
        raise ValueError(
            f"{name} has two classes for the instance id {twice}: ids must be unique in an image."
        )
    return ids, classes | dict(enumerate(present, start=first))


def _segments_info(ids, classes):
    numbers = list(classes)
    index = np.zeros(ids.max(initial=0) + 1, dtype=np.int32)
    index[numbers] = np.arange(1, len(numbers) + 1)
    sources = Instances.from_label_map(index[ids])
    columns = zip(
        numbers, classes.values(), sources.areas.tolist(), sources.boxes.tolist(), strict=True
    )
    return [
        {
            "id": number,
            "category_id": class_id,
            "area": area,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": 0,
        }
        for number, class_id, area, (y0, x0, y1, x1) in columns
    ]


def _encode_png(ids):
    from PIL import Image

    channels = np.stack([ids & 0xFF, ids >> 8 & 0xFF, ids >> 16], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(channels).save(file, format="PNG")
    return file.getvalue()


def from_coco_panoptic(
    source: dict[str, Any] | str | Path,
    folder: str | Path | None = None,
    *,
    keep_crowds: bool = False,
) -> list[Labels]:
    """Read panoptic maps from COCO's panoptic format.

    Parameters
    ----------
    source : dict, str or path-like
        The document, or the JSON file that holds it.
    folder : str or path-like, optional
        Where the PNGs are; by default in the folder that is called like the JSON file.
    keep_crowds : bool, default=False
        Make a source of a segment with ``iscrowd=1``, the outline of a group; otherwise it is void,
        as for the panoptic quality.

    Returns
    -------
    list of ndarray of int32, shape (2, height, width)
        For every entry of ``images``, in their order, the class and the instance id of every pixel.
        A thing has the id of its segment, stuff has 0; void pixels have class -1 and id 0.

    Raises
    ------
    ValueError
        If an entry lacks a key, refers to an unknown image or category, names a file outside the
        folder, or if a PNG has another size or other segments than its entry says. The message
        names the entry.
    FileNotFoundError
        If the JSON file or a PNG is missing.

    See Also
    --------
    to_coco_panoptic : The inverse.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from galaxysegment.coco import from_coco_panoptic, to_coco_panoptic
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "truth.json"
    ...     document = to_coco_panoptic(np.array([[[0, 1, 2]]]), path)
    ...     print(from_coco_panoptic(path)[0].tolist())
    [[[0, 1, 1]], [[0, 1, 2]]]
    """
    if folder is None:
        if isinstance(source, dict):
            raise ValueError(
                "folder must be given with a dictionary, which does not say where its PNGs are."
            )
        folder = Path(source).with_suffix("")
    document = read_document(source)
    images = read_images(document)
    categories = read_categories(document)
    things = {
        class_id: bool(need(entry, "isthing", f"categories[{index}]"))
        for index, (class_id, entry) in enumerate(categories.items())
    }
    maps: list[Any] = [None] * len(images)
    for index, annotation in enumerate(need_list(document, "annotations", "The COCO document")):
        where = f"annotations[{index}]"
        position, shape = image_of(annotation, images, where)
        if maps[position] is not None:
            raise ValueError(
                f"{where} is the second annotation of image_id "
                f"{annotation['image_id']!r:.60}: give one per image."
            )
        ids = _read_png(Path(folder), need(annotation, "file_name", where), shape, where)
        maps[position] = _panoptic_map(
            ids, need_list(annotation, "segments_info", where), things, keep_crowds, where
        )
    missing = [image_id for image_id, (position, _) in images.items() if maps[position] is None]
    if missing:
        raise ValueError(
            f"The images {listing(missing)} have no annotation: every image needs one."
        )
    return maps


def _read_png(folder, file_name, shape, where):
    """Segment ids of one PNG that lies within the folder."""
    path = _find_png(folder, file_name, where)
    name = f"{where}: {file_name!r:.60}"
    promised = _png_shape(path)
    if promised is None:
        raise ValueError(f"{name} is no PNG that can be read: it does not begin like a PNG.")
    if promised != shape:
        raise ValueError(
            f"{where}: the PNG {file_name!r:.60} has shape {promised}, but its image has {shape}."
        )
    if 3 * shape[0] * shape[1] > _MOST_UNPACKED * path.stat().st_size:
        raise ValueError(
            f"{name} is no PNG that can be read: it promises more pixels than it can hold."
        )
    try:
        mode, channels = _decode_png(path)
    except (ValueError, OSError, SyntaxError, MemoryError) as error:  # Pillow raises many kinds
        raise ValueError(
            f"{name} is no PNG that can be read: {' '.join(str(error).split())}"
        ) from error
    if mode not in ("RGB", "RGBA"):
        raise ValueError(
            f"{where}: the PNG {file_name!r:.60} has mode {mode}; ids are written as RGB."
        )
    ids = channels[..., 0].astype(np.int32)
    for channel in (1, 2):
        ids += channels[..., channel].astype(np.int32) << (8 * channel)
    return ids


def _find_png(folder, file_name, where):
    if not isinstance(file_name, str):
        raise ValueError(f"{where} has file_name {file_name!r:.60}: it must be a string.")
    path = folder / file_name
    try:
        is_inside, is_there = path.resolve().is_relative_to(folder.resolve()), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{where} has file_name {file_name!r:.60}, which names no file: {error!s:.60}"
        ) from error
    if not is_inside:
        raise ValueError(
            f"{where} has file_name {file_name!r:.60}, which leads out of the folder of PNGs."
        )
    if not is_there:
        raise FileNotFoundError(
            f"{where} has file_name {file_name!r:.60}, but there is no such PNG in {str(folder)!r}."
        )
    return path


def _png_shape(path):
    """Shape that the header of a PNG tells; None if it is no PNG."""
    with path.open("rb") as file:
        start = file.read(24)
    if len(start) < 24 or not start.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    width, height = struct.unpack(">II", start[16:])
    return height, width


def _decode_png(path):
    """Decode a PNG whose size was checked; Pillow's own limit is too low for mosaics."""
    from PIL import Image

    with _PILLOW:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path, formats=["PNG"])
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        return image.mode, np.asarray(image)


def _panoptic_map(ids, segments_info, things, keep_crowds, where):
    classes = {}
    for k, segment in enumerate(segments_info):
        here = f"{where}.segments_info[{k}]"
        number = need(segment, "id", here)
        if not isinstance(number, int):
            raise ValueError(f"{here} has id {number!r:.60}: it must be a whole number.")
        if number in classes:
            raise ValueError(
                f"{here} repeats the segment id {number!r:.60}: ids must be unique in an image."
            )
        classes[number] = class_of(segment, things, here)
        if segment.get("iscrowd", 0) and not keep_crowds:
            classes[number] = VOID
    present, inverse = np.unique(ids, return_inverse=True)
    unknown, absent = (
        set(present.tolist()) - set(classes) - {0},
        set(classes) - set(present.tolist()),
    )
    if unknown:
        raise ValueError(
            f"{where} has segments in its PNG that segments_info does not name: {listing(unknown)}."
        )
    if absent:
        raise ValueError(f"{where} names segments that its PNG does not hold: {listing(absent)}.")
    class_of_id = np.array(
        [classes.get(number, VOID) for number in present.tolist()], dtype=np.int32
    )
    kept = np.array([things.get(class_id, False) for class_id in class_of_id.tolist()])
    inverse = inverse.reshape(ids.shape)
    return np.stack([class_of_id[inverse], np.where(kept, present, 0).astype(np.int32)[inverse]])

"""Parts that both COCO formats share: images, categories, reading and writing JSON."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np

from ..structures import (
    ARTEFACT,
    CIRRUS,
    CLASS_NAMES,
    DIFFUSE,
    GALAXY,
    SKY,
    STAR,
    STUFF,
    TRAIL,
    Instances,
)

_NAMES = {GALAXY: "galaxy", STAR: "star"}
_LISTED = 8  # values that a message lists at most
_COLOURS = {
    SKY: [0, 0, 0],
    GALAXY: [230, 159, 0],
    STAR: [86, 180, 233],
    ARTEFACT: [213, 94, 0],
    TRAIL: [204, 121, 167],
    DIFFUSE: [100, 100, 100],
    CIRRUS: [0, 158, 115],
}
_LARGEST_CLASS = 2**31 - 1
#: The one category of a file whose sources have no class.
UNCLASSIFIED = "source"


def as_images(y):
    """Split `y` into label maps, masks, panoptic maps and instances, one per image."""
    images = (
        [y]
        if isinstance(y, Instances)
        else [image if isinstance(image, Instances) else np.asarray(image) for image in y]
    )
    for index, image in enumerate(images):
        if isinstance(image, Instances) or image.ndim == 2:
            continue
        if image.ndim == 3 and len(image) == 2:
            continue
        raise ValueError(
            f"y[{index}] must be a (height, width) label map or mask, a (2, height, width) "
            f"panoptic map or Instances. Got shape {image.shape} instead: "
            "pass a single map as y[np.newaxis]."
        )
    return images


def image_entries(images, names):
    """COCO's list of images: ids count from 1, names default to numbers."""
    names = (
        [f"{index:06d}.fits" for index in range(len(images))]
        if names is None
        else [str(name) for name in names]
    )
    if len(names) != len(images):
        raise ValueError(
            f"images holds {len(names)} names for {len(images)} images: give one per image."
        )
    shapes = [tuple(map(int, image.shape[-2:])) for image in images]
    return [
        {"id": index, "file_name": name, "height": height, "width": width}
        for index, (name, (height, width)) in enumerate(zip(names, shapes, strict=True), start=1)
    ]


def category_entries(categories):
    """COCO's list of categories from ``{id: name}``, or from a list of such entries."""
    if categories is None:
        categories = _NAMES
    if isinstance(categories, dict):
        categories = [{"id": class_id, "name": name} for class_id, name in categories.items()]
    entries = []
    for index, entry in enumerate(categories):
        class_id = int(need(entry, "id", f"categories[{index}]"))
        entries.append({**entry, "id": class_id, "name": entry.get("name", f"class {class_id}")})
    return entries


def panoptic_categories(categories, present=()):
    """Complete categories by ``isthing`` and ``color``.

    By default they are sky, galaxy and star, and the stuff of `CLASS_NAMES` among the classes that
    are `present`. In a dict all but class 0 have things.
    """
    stuff = (SKY,)
    if categories is None:
        stuff = STUFF
        names = {SKY, *_NAMES, *({*STUFF} & {*present})}
        categories = {code: CLASS_NAMES[code] for code in sorted(names)}
    rng = np.random.default_rng(0)
    complete = []
    for entry in category_entries(categories):
        isthing = int(entry.get("isthing", entry["id"] not in stuff))
        colour = _COLOURS.get(entry["id"], rng.integers(64, 256, 3).tolist())
        kind = "source" if isthing else "background"
        complete.append({"supercategory": kind, "color": colour, **entry, "isthing": isthing})
    return complete


def check_classes(classes, entries, name):
    """Refuse a class that is not among the categories."""
    known = {entry["id"] for entry in entries}
    unknown = sorted(set(np.asarray(classes).tolist()) - known)
    if unknown:
        raise ValueError(
            f"{name} has class {unknown[0]}, which is not among the categories {listing(known)}: "
            "pass categories={id: name, …} with every class."
        )


def listing(values):
    """Write values one after another, of many only the first few."""
    values = sorted(values, key=lambda value: (isinstance(value, str), value))
    first = ", ".join(f"{value!s:.60}" for value in values[:_LISTED])
    return first + (f", … ({len(values)} in all)" if len(values) > _LISTED else "")


def need(entry, key, where):
    """Value of a key that the format requires."""
    if not isinstance(entry, dict) or key not in entry:
        raise ValueError(f"{where} has no {key!r}, which COCO requires.")
    return entry[key]


def need_list(entry, key, where):
    """Value of a key that must be a list."""
    value = need(entry, key, where)
    if not isinstance(value, list | tuple):
        raise ValueError(
            f"{where} has {key!r} of type {type(value).__name__}, but COCO has a list there."
        )
    return value


def read_categories(document):
    """Map every category id to its entry."""
    entries = {}
    for index, entry in enumerate(need_list(document, "categories", "The COCO document")):
        class_id = need(entry, "id", f"categories[{index}]")
        if not isinstance(class_id, int) or abs(class_id) > _LARGEST_CLASS:
            raise ValueError(
                f"categories[{index}] has id {class_id!r:.60}: "
                "it must be a whole number of 32 bits."
            )
        entries[class_id] = entry
    return entries


def read_document(source):
    """Take a dictionary as it is, or read it from a JSON file."""
    if isinstance(source, dict):
        return source
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"There is no COCO file {str(path)!r}: check the path.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        # Of JSON, of its encoding, or of a number of thousands of digits.
        raise ValueError(f"{str(path)!r} is no JSON file: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(
            f"{str(path)!r} must hold an object with images, annotations and categories, "
            "not a list."
        )
    return document


def read_images(document):
    """Map image id to ``(position, shape)`` after checking the entries."""
    images = {}
    for index, entry in enumerate(need_list(document, "images", "The COCO document")):
        where = f"images[{index}]"
        image_id = need(entry, "id", where)
        if not isinstance(image_id, (int, str)):
            raise ValueError(f"{where} has id {image_id!r:.60}: it must be a whole number.")
        if image_id in images:
            raise ValueError(f"{where} repeats the image id {image_id!r:.60}: ids must be unique.")
        shape = tuple(need(entry, key, where) for key in ("height", "width"))
        if not all(isinstance(side, int) and side > 0 for side in shape):
            raise ValueError(
                f"{where} has height and width {shape!s:.60}: they must be positive whole numbers."
            )
        if shape[0] * shape[1] >= 2**32:
            raise ValueError(
                f"{where} has height and width {shape!s:.60}: COCO's run lengths hold 32 bits."
            )
        images[image_id] = index, shape
    return images


def image_of(annotation, images, where):
    """Position and shape of the image that an annotation refers to."""
    image_id = need(annotation, "image_id", where)
    if not isinstance(image_id, (int, str)) or image_id not in images:
        known = listing(images)
        raise ValueError(
            f"{where} refers to image_id {image_id!r:.60}, which is not among the images {known}."
        )
    return images[image_id]


def class_of(annotation, known, where):
    """Category of an annotation or segment."""
    category_id = need(annotation, "category_id", where)
    if not isinstance(category_id, int) or category_id not in known:
        raise ValueError(
            f"{where} has category_id {category_id!r:.60}, which is not among the categories "
            f"{listing(known)}."
        )
    return category_id


def write_whole(path, content):
    """Write bytes to a file so that it appears whole or not at all."""
    # In the same folder, because replacing is atomic only within a file system.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def write_json(path, document):
    """Write a document to a JSON file that appears whole or not at all."""
    write_whole(Path(path), json.dumps(document).encode("utf-8"))

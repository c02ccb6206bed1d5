"""Fuzzed JSON files in COCO's format of instances."""

import json

import numpy as np

from ._damage import all_places, cut, damage_tree, flip_bits, splice
from ._outcomes import Case, Defect, attempt

_HUGE = [
    -1,
    0,
    10**4,
    65_537,
    10**6,
    2**31,
    2**32,
    2**40,
    10**18,
    2**63,
    2**64,
    10**30,
    0.5,
    1e300,
    float("nan"),
]


def _document(rng):
    """A good document with run lengths, compressed run lengths and polygons."""
    from galaxysegment.coco import to_coco

    labels = np.zeros((2, 12, 15), np.int32)
    labels[0, 2:5, 3:8], labels[0, 7:9, 1:3], labels[1, 4:8, 6:9] = 1, 2, 1
    document = to_coco(labels, segmentation=str(rng.choice(["rle", "polygon"])))
    if rng.random() < 0.3:
        mask = labels[0] == 1
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[2], mask.T.ravel(), [2]]))))
        document["annotations"][0]["segmentation"] = {"size": [12, 15], "counts": runs.tolist()}
    return document


def _write(folder, text, **expected):
    path = folder / "truth.json"
    path.write_bytes(text if isinstance(text, bytes | bytearray) else text.encode("utf-8"))
    return Case(path, **expected)


def damaged(rng, folder):
    """Any value replaced, deleted or repeated."""
    return _write(folder, json.dumps(damage_tree(rng, _document(rng), int(rng.integers(1, 4)))))


def bits(rng, folder):
    return _write(
        folder, flip_bits(rng, json.dumps(_document(rng)).encode(), int(rng.integers(1, 10)))
    )


def truncated(rng, folder):
    return _write(folder, cut(rng, json.dumps(_document(rng)).encode(), 64), must_fail=True)


def shifted(rng, folder):
    return _write(folder, bytes(splice(rng, json.dumps(_document(rng)).encode())))


def sizes(rng, folder):
    """Images and masks of absurd size in a file of a few lines."""
    document = _document(rng)
    for image in document["images"]:
        for side in ("height", "width"):
            if rng.random() < 0.6:
                image[side] = _HUGE[int(rng.integers(len(_HUGE)))]
    height, width = (document["images"][0][side] for side in ("height", "width"))
    if rng.random() < 0.7 and all(isinstance(side, int) for side in (height, width)):
        mask = {"size": [height, width], "counts": [0, height * width]}
        if rng.random() < 0.5:
            mask = [[0, 0, width, 0, width, height, 0, height]]
        document["annotations"][0] |= {"segmentation": mask, "bbox": [0, 0, width, height]}
    return _write(folder, json.dumps(document))


def counts(rng, folder):
    """Run lengths that are wrong, and strings that stop within a number."""
    document = _document(rng)
    for annotation in document["annotations"]:
        kind = int(rng.integers(5))
        text = rng.integers(32, 127, int(rng.integers(0, 30)), dtype=np.uint8).tobytes().decode()
        numbers = [
            int(choice)
            for choice in rng.choice(
                [0, 1, 5, 180, -1, 2**31, 2**63 - 1, 2**40], int(rng.integers(0, 6))
            )
        ]
        value = [text, "\x80é☃", numbers, [*numbers, 2**70], text + "P" * 40][kind]
        annotation["segmentation"] = {"size": [12, 15], "counts": value}
    return _write(folder, json.dumps(document))


def polygons(rng, folder):
    """Polygons with numbers that are none, huge ones, and any number of points."""
    document = _document(rng)
    for annotation in document["annotations"]:
        points = rng.choice(
            [0.0, 1, 3.5, 12, -5, 29, 1e300, float("nan"), float("inf"), 14.99],
            int(rng.integers(0, 20)),
        )
        annotation["segmentation"] = [points.tolist()] * int(rng.integers(1, 3))
        annotation.pop("bbox", None)
    return _write(folder, json.dumps(document))


_TEXTS = [
    "",
    "[]",
    "3",
    "null",
    "NaN",
    "[" * 100_000,
    '{"a":' * 100_000,
    "9" * 10_000,
    "\ufeff{}",
    "{}",
    '{"images": 3}',
]
_TEXTS += [
    '{"images": [], "annotations": [], "categories": [' + "9" * 5000 + "]}",
    "\x00" * 100,
    '{"images": {"id": 1}}',
]
_TEXTS += [
    '{"images": [], "annotations": [], "categories": [{"id": [1], "name": "x"}]}',
    "{'images': []}",
    "\udce9",
]


def texts(rng, folder):
    """JSON that is something else, nested without end, or none."""
    text = _TEXTS[int(rng.integers(len(_TEXTS)))]
    return _write(folder, text.encode("utf-8", errors="surrogateescape"))


def many(rng, folder):
    """The same ids thousands of times."""
    document = _document(rng)
    name = str(rng.choice(["images", "annotations", "categories"]))
    document[name] = document[name] * 800
    return _write(folder, json.dumps(document))


def names(rng, folder):
    """File names that lead elsewhere are only names."""
    document = _document(rng)
    places = [
        place for place in all_places(document) if place[-1] in ("file_name", "name", "description")
    ]
    for *above, key in places:
        parent = document
        for step in above:
            parent = parent[step]
        parent[key] = str(
            rng.choice(
                [
                    "../../etc/passwd",
                    "/etc/passwd",
                    "$(id)",
                    "%s",
                    "a\x00b",
                    "{0}",
                    "☃",
                    "a\nb",
                    "source",
                ]
            )
        )
    return _write(folder, json.dumps(document))


_ALL = (damaged, bits, truncated, shifted, sizes, counts, polygons, texts, many, names)
KINDS = {function.__name__: function for function in _ALL}


def check(case, thorough=False):
    """Read a document, and work with what comes of it."""
    from galaxysegment.coco import from_coco, to_coco

    error, images = attempt(from_coco, case.path, names=_words(case))
    if error is not None:
        return "error"
    if case.must_fail:
        raise Defect("read a damaged document")
    attempt(from_coco, case.path, keep_crowds=True, names=_words(case))
    for sources in images:
        if any(crop.size > 10**8 for crop in sources.crops):
            raise Defect(
                f"made masks of {max(crop.size for crop in sources.crops)} pixels of a small file"
            )
    if all(sources.shape[0] * sources.shape[1] < 10**6 for sources in images):
        back = from_coco(
            to_coco(
                images,
                categories={k: str(k) for sources in images for k in _classes(sources)} or None,
            )
        )
        if [instances.boxes.tolist() for instances in back] != [
            instances.boxes.tolist() for instances in images
        ]:
            raise Defect("the round trip changed boxes")
    return "read"


def _classes(sources):
    return [1] if sources.classes is None else sources.classes.tolist()


def _words(case):
    """A message names the file, or the entry of the document."""
    return case.path.name, "images", "annotations", "categories", "COCO document"


def warm_up():
    """Import what reading needs."""
    from pycocotools import mask  # noqa: F401

    from galaxysegment import coco  # noqa: F401

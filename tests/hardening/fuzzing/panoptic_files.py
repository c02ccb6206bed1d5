"""Fuzzed panoptic PNGs and their JSON files."""

import json
import struct
import zlib

import numpy as np

from ._damage import cut, damage_tree, flip_bits, splice
from ._outcomes import Case, Defect, attempt

_PNG = "000000.png"


def _good(folder):
    """Write a good document and return its path and that of its first PNG."""
    from galaxysegment.coco import to_coco_panoptic

    maps = np.zeros((2, 2, 12, 15), np.int32)
    maps[:, 0, 2:5, 3:8], maps[:, 1, 2:5, 3:8] = 1, 1
    maps[:, 0, 7:9, 1:3], maps[:, 1, 7:9, 1:3] = 2, 2
    path = folder / "truth.json"
    to_coco_panoptic(maps, path)
    return path, folder / "truth" / _PNG


def json_values(rng, folder):
    path, _ = _good(folder)
    path.write_text(
        json.dumps(damage_tree(rng, json.loads(path.read_text()), int(rng.integers(1, 4))))
    )
    return Case(path)


def png_truncated(rng, folder):
    path, png = _good(folder)
    png.write_bytes(cut(rng, bytearray(png.read_bytes()), 16))
    return Case(path)


def png_bits(rng, folder):
    path, png = _good(folder)
    png.write_bytes(flip_bits(rng, png.read_bytes(), int(rng.integers(1, 20))))
    return Case(path)


def png_shifted(rng, folder):
    path, png = _good(folder)
    png.write_bytes(splice(rng, bytearray(png.read_bytes())))
    return Case(path)


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width, height, depth, colour, data, *more):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), *more, _chunk(b"IDAT", data), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_sizes(rng, folder):
    """Headers of PNGs that promise more pixels than there are; the document agrees or not."""
    path, png = _good(folder)
    sides = [0, 1, 15, 10**4, 20_000, 10**5, 2**31 - 1]
    width, height = (sides[int(rng.integers(len(sides)))] for _ in range(2))
    png.write_bytes(_png(width, height, 8, 2, zlib.compress(bytes(10**6))))
    document = json.loads(path.read_text())
    if rng.random() < 0.8:
        document["images"][0] |= {"width": width, "height": height}
    path.write_text(json.dumps(document))
    return Case(path, must_fail=True)


def png_modes(rng, folder):
    """Grey, palettes, 16 bits and alpha channels; text chunks that unpack to a great deal."""
    path, png = _good(folder)
    depth, colour = ((8, 0), (16, 2), (8, 6), (8, 4), (1, 0), (8, 3), (7, 9))[int(rng.integers(7))]
    more = (
        [_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3 * 10**7)))] if rng.random() < 0.4 else []
    )
    more += [_chunk(b"PLTE", bytes(30))] if rng.random() < 0.3 else []
    png.write_bytes(_png(15, 12, depth, colour, zlib.compress(bytes(15 * 12 * 8 + 12)), *more))
    return Case(path)


_NAMES = [
    "../truth.json",
    "/etc/passwd",
    "..",
    "",
    ".",
    "a\x00b",
    "000001.png",
    "x" * 5000,
    "~/x.png",
    "truth/../../x",
    3,
]
_NAMES += [None, [], {"a": 1}, "CON", "http://localhost/x.png", "\n", "☃.png", "nothing.png"]


def names(rng, folder):
    """File names that lead out of the folder are refused, whatever lies there."""
    path, png = _good(folder)
    (folder / "x").write_bytes(png.read_bytes())
    document = json.loads(path.read_text())
    document["annotations"][0]["file_name"] = _NAMES[int(rng.integers(len(_NAMES)))]
    path.write_text(json.dumps(document))
    return Case(path)


def links(rng, folder):
    """A link that leads out of the folder is refused as well."""
    path, png = _good(folder)
    outside = folder / "outside.png"
    png.rename(outside)
    png.symlink_to(outside if rng.random() < 0.7 else png)
    return Case(path, must_fail=True)


def foreign(rng, folder):
    path, png = _good(folder)
    starts = [
        b"",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"%!PS",
        b"RIFF",
        b"II*\x00",
        b"\x93NUMPY",
    ]
    png.write_bytes(starts[int(rng.integers(len(starts)))] + rng.bytes(int(rng.integers(0, 3000))))
    return Case(path, must_fail=True)


def segments(rng, folder):
    """Segments of other ids, classes and kinds than the PNG has."""
    path, _ = _good(folder)
    document = json.loads(path.read_text())
    for annotation in document["annotations"]:
        annotation["segments_info"] = damage_tree(
            rng, annotation["segments_info"], int(rng.integers(1, 4))
        )
    path.write_text(json.dumps(document))
    return Case(path)


_ALL = (
    json_values,
    png_truncated,
    png_bits,
    png_shifted,
    png_sizes,
    png_modes,
    names,
    links,
    foreign,
    segments,
)
KINDS = {function.__name__: function for function in _ALL}


def check(case, thorough=False):
    """Read panoptic maps."""
    from galaxysegment.coco import from_coco_panoptic

    words = (case.path.name, "images", "annotations", "categories", "COCO document")
    error, maps = attempt(from_coco_panoptic, case.path, names=words)
    attempt(from_coco_panoptic, case.path, keep_crowds=True, names=words)
    if error is not None:
        return "error"
    if case.must_fail:
        raise Defect("read a damaged document")
    if any(
        panoptic.dtype != np.int32 or panoptic.ndim != 3 or len(panoptic) != 2 for panoptic in maps
    ):
        raise Defect("read maps of another shape or dtype")
    return "read"


def warm_up():
    """Import what reading needs."""
    from PIL import PngImagePlugin  # noqa: F401

    from galaxysegment import coco  # noqa: F401

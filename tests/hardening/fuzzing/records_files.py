"""Damaged and forged records of unfinished mosaics: what a resumed run makes of them."""

import json
import re
import shutil
import tempfile
from functools import cache
from io import BytesIO
from pathlib import Path
from unittest import mock

import numpy as np
from astropy.io import fits

from ._damage import cut, damage_tree, flip_bits, random_json, splice
from ._outcomes import Case, Defect, attempt

_SHAPE = (90, 100)


def _segment(folder, *, resume):
    from galaxysegment import SEPSegmenter
    from galaxysegment.mosaic import segment_mosaic

    options = {"tile_size": 50, "overlap": 20, "progress": False, "overwrite": True}
    segmenter = SEPSegmenter(n_pixels=5, bridge=0)
    return segment_mosaic(
        segmenter, folder / "image.fits", output=folder / "out.fits", resume=resume, **options
    )


@cache
def _unfinished():
    """Make a mosaic and keep its records.

    Return its folder, the work folder's files and the labels.

    A record belongs to the path of the image, so that all cases of a process share the folder.
    """
    from galaxysegment.io import read_label_map
    from galaxysegment.mosaic._store import WorkFolder

    folder = Path(tempfile.mkdtemp(prefix="fuzz-records-"))
    rng = np.random.default_rng(0)
    image = rng.normal(size=_SHAPE)
    for y, x in rng.integers(0, 90, (20, 2)):
        image[y : y + 6, x : x + 6] += 30
    fits.writeto(folder / "image.fits", image.astype(np.float32))
    with mock.patch.object(WorkFolder, "_remove"):
        _segment(folder, resume=False)
    work = next(path for path in folder.iterdir() if path.is_dir())
    files = {path.name: path.read_bytes() for path in work.iterdir()}
    return work, files, read_label_map(folder / "out.fits")


def _restore():
    work, files, _ = _unfinished()
    for entry in work.parent.iterdir():
        if entry.name not in ("image.fits", work.name):
            entry.unlink()
    if work.is_symlink() or work.is_file():
        work.unlink()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for name, data in files.items():
        (work / name).write_bytes(data)
    return work, sorted(name for name in files if name.endswith(".record"))


def _some(rng, work, names):
    """Draw some of the records."""
    count = int(rng.integers(1, len(names) + 1))
    return [work / names[index] for index in rng.permutation(len(names))[:count]]


def bits(rng, _folder):
    work, names = _restore()
    for path in _some(rng, work, names):
        path.write_bytes(flip_bits(rng, path.read_bytes(), int(rng.integers(1, 20))))
    return Case(work)


def truncated(rng, _folder):
    work, names = _restore()
    for path in _some(rng, work, names):
        path.write_bytes(cut(rng, path.read_bytes(), 512) if rng.random() < 0.7 else b"")
    return Case(work)


def shifted(rng, _folder):
    work, names = _restore()
    for path in _some(rng, work, names):
        path.write_bytes(splice(rng, path.read_bytes()))
    return Case(work)


def missing(rng, _folder):
    work, names = _restore()
    for path in _some(rng, work, names):
        path.unlink()
    return Case(work)


def swapped(rng, _folder):
    """Records of one tile under the name of another."""
    work, names = _restore()
    data = {name: (work / name).read_bytes() for name in names}
    for name, other in zip(names, rng.permutation(names), strict=True):
        (work / name).write_bytes(data[str(other)])
    return Case(work)


def foreign(rng, _folder):
    """Folders, links and other formats in the place of records."""
    work, names = _restore()
    for path in _some(rng, work, names):
        data = path.read_bytes()
        path.unlink()
        kind = int(rng.integers(4))
        if kind == 0:
            path.mkdir()
        elif kind == 1:
            path.symlink_to(work / str(rng.choice([*names, "nothing", ".."])))
        elif kind == 2:
            path.write_bytes(b"\x93NUMPY" + rng.bytes(200))
        else:
            path.write_bytes(data[:48] + _pickled(work))
    return Case(work)


class _Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def _pickled(work):
    file = BytesIO()
    np.savez(file, a=np.array([_Payload(work.parent / "executed")], dtype=object))
    return file.getvalue()


def _as_objects(parts):
    """Say of the arrays of a record that they hold objects, whose addresses are their numbers."""
    text = re.sub(rb'"[<|>]\w+"', b'"|O"', parts[1])
    return [len(text).to_bytes(len(parts[0]), "little"), text, *parts[2:]]


def forged(rng, _folder):
    """Records whose checksum is right, but whose arrays are not those of any run."""
    from galaxysegment.mosaic._store import WorkFolder, _arrays_of, _as_parts

    work, names = _restore()
    folder = WorkFolder(work)
    folder.run = json.loads((work / "run.json").read_text())["checksum"]
    for path in _some(rng, work, names):
        stored = path.read_bytes()
        arrays = dict(_arrays_of(stored[48:]))
        for name in list(arrays):
            if rng.random() < 0.5:
                arrays[name] = _other_array(rng, arrays[name])
        parts = _as_parts(arrays)
        kind = rng.random()
        if kind < 0.1:
            parts = [_pickled(work)]
        elif kind < 0.2:
            parts = _as_objects(parts)
        path.write_bytes(stored[:16] + folder._sum_of(path, parts) + b"".join(parts))
    return Case(work, same_as=False)


def _other_array(rng, array):
    kind = int(rng.integers(5))
    if kind == 0:
        return array.ravel()[: int(rng.integers(0, 3))]
    if kind == 1:
        return array[None]
    if kind == 2:
        return array.astype(str(rng.choice(["f8", "i8", "u1", "?", "U3"])))
    array = np.array(array)
    if array.size and array.dtype.kind in "iuf":
        values = [-1, 0, 2**31 - 1, 10**6] if array.dtype.kind in "iu" else [np.nan, np.inf, -1.0]
        with np.errstate(all="ignore"):
            value = np.array(values[int(rng.integers(len(values)))]).astype(array.dtype)
        array.reshape(-1)[int(rng.integers(array.size))] = value
    return array


_TEXTS = [
    b"",
    b"[" * 100_000,
    b"\xff\xfe",
    b"null",
    b"[]",
    b'{"checksum": "x"}',
    b"9" * 9000,
    b"NaN",
]


def about(rng, _folder):
    """Another description of the run, or none that can be read."""
    work, _ = _restore()
    path = work / "run.json"
    if rng.random() < 0.4:
        path.write_bytes(_TEXTS[int(rng.integers(len(_TEXTS)))])
    else:
        tree = damage_tree(rng, json.loads(path.read_text()), int(rng.integers(1, 4)))
        path.write_text(json.dumps(tree))
    return Case(work)


def leftovers(rng, _folder):
    """Drafts, folders and links that a killed run, or somebody else, left behind."""
    work, names = _restore()
    outside = work.parent / "outside"
    outside.write_text("of another program")
    for index in range(int(rng.integers(1, 5))):
        name = str(
            rng.choice([f"{names[0]}.x.part", "job", "image.npy", "run.json.part", "é", "x.record"])
        )
        path = work / f"{index}{name}"
        kind = int(rng.integers(3))
        if kind == 0:
            path.write_bytes(rng.bytes(100))
        elif kind == 1:
            path.mkdir()
            (path / "file").write_text(json.dumps(random_json(rng)))
        else:
            path.symlink_to(outside)
    return Case(work)


def places(rng, _folder):
    """A file or a link where the work folder should be, or one without its lock."""
    work, _ = _restore()
    kind = int(rng.integers(4))
    if kind == 0:
        (work / "lock").unlink(missing_ok=True)
    elif kind == 1:
        (work / "run.json").unlink()
    else:
        moved = work.parent / "moved"
        shutil.rmtree(moved, ignore_errors=True)
        shutil.rmtree(work)
        if kind == 2:
            work.write_text("a file")
        else:
            work.symlink_to(work.parent)
    return Case(work)


_ALL = (bits, truncated, shifted, missing, swapped, foreign, forged, about, leftovers, places)
KINDS = {function.__name__: function for function in _ALL}


def check(case, thorough=False):
    """Resume the run; its label map is that of an undamaged run, or there is a clear error."""
    from galaxysegment.io import read_label_map

    work, _, labels = _unfinished()
    output = work.parent / "out.fits"
    allowed = (ValueError, OSError, RuntimeError)
    if case.same_as is False:
        # Who can compute checksums can write the output as well: an error of any kind will do.
        allowed += (LookupError, TypeError, ArithmeticError)
    error, _ = attempt(_segment, work.parent, resume=True, allowed=allowed)
    if (work.parent / "executed").exists():
        raise Defect("code of a record was executed")
    outside = work.parent / "outside"
    if outside.exists() and outside.read_text() != "of another program":
        raise Defect("a file outside of the work folder was changed")
    if not (work.parent / "image.fits").exists():
        raise Defect("the image is gone")
    if (error is None) != output.exists():
        raise Defect(f"the run ends with {error!r}, output exists: {output.exists()}")
    must_agree = error is None and case.same_as is None
    if must_agree and not np.array_equal(read_label_map(output), labels):
        raise Defect("the resumed run has another label map")
    return "read" if error is None else "error"


def warm_up():
    """Make the mosaic before memory is limited."""
    _unfinished()

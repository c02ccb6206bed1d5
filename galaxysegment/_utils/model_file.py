"""The model file: a safetensors file whose header holds a JSON tree that refers to the tensors.

Reading makes dictionaries, lists, strings, numbers and arrays, and nothing else: no code from the
file can run. `galaxysegment.persistence` gives the tree its meaning.
"""

import contextlib
import json
import os
import zlib
from pathlib import Path

import numpy as np

FORMAT = "galaxysegment"
VERSION = 1
_ENTRIES = {"format", "format_version", "checksum", "tree"}
#: Key that marks a JSON object as more than a dictionary; the caller interprets ``"object"``.
KIND = "__kind__"


def write_model_file(path, tree):
    """Write a tree of dict, list, tuple, str, numbers, None and arrays, whole or not at all."""
    from safetensors.numpy import save

    arrays = {}
    text = json.dumps(_encode(tree, arrays, "model"), allow_nan=True)
    about = {
        "format": FORMAT,
        "format_version": str(VERSION),
        "checksum": _checksum(text, arrays),
        "tree": text,
    }
    write_whole(path, save(arrays, metadata=about))


def write_whole(path, content):
    """Write the bytes of a model's file, whole or not at all."""
    path = Path(path)
    # a name of our own in the same folder: os.replace is atomic only within a file system
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"The model could not be written ({reason}); nothing was left behind"
        raise OSError(error.errno, message, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def read_model_file(path):
    """Read the tree that `write_model_file` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, is no model file of this package, or comes from a newer version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no model file {str(path)!r}: check the path.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_header(metadata, path)
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
        _check_sum(metadata, arrays)
        return _decode(json.loads(metadata["tree"]), arrays)
    except ModelFileError:
        raise
    except (SafetensorError, OSError, *DAMAGE) as error:
        raise ValueError(
            f"{str(path)!r} is damaged or no model file of galaxysegment ({type(error).__name__}: "
            f"{one_line(error)}): pass a file that galaxysegment.persistence.save wrote."
        ) from error


# Values of a wrong kind raise these errors while they are read and while objects are made of them.
# JSON that is nested too deep raises RecursionError, a RuntimeError.
DAMAGE = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
)


class ModelFileError(ValueError):
    """A file that is whole, but cannot be read by this version of the package."""


def one_line(error, limit=300):
    """What an error says, in one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else f"{text[:limit]}…"


def _checksum(text, arrays):
    """Sum over the tree and all arrays, their types and shapes included."""
    crc = zlib.crc32(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), crc)
    return f"{crc:08x}"


def _check_sum(metadata, arrays):
    """Compare with the checksum, which the first files of the format do not have.

    A bit that flips in the word "checksum" itself must not look like such a file.
    """
    unknown = sorted(metadata.keys() - _ENTRIES)
    if unknown:
        raise ValueError(f"its header has an unknown entry {one_line(unknown[0], 40)!r}")
    if "checksum" in metadata and metadata["checksum"] != _checksum(metadata["tree"], arrays):
        raise ValueError("its checksum does not fit its contents")


def _check_header(metadata, path):
    if metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"{str(path)!r} is a safetensors file, but not of galaxysegment: "
            "pass a file that galaxysegment.persistence.save wrote."
        )
    version = metadata.get("format_version", "")
    if not (version.isdecimal() and len(version) < 10 and 1 <= int(version) <= VERSION):
        raise ModelFileError(
            f"{str(path)!r} has format version {version[:20]!r}, but this galaxysegment reads "
            f"versions 1 to {VERSION}: update galaxysegment."
        )


def _encode(value, arrays, name):
    """JSON form of `value`; arrays go to `arrays` and are referred to by name."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "OU" and all(isinstance(item, str) for item in value.flat):
            return {KIND: "strings", "items": value.ravel().tolist(), "shape": list(value.shape)}
        if value.dtype.kind not in "biuf":
            raise _unsupported(name, f"array of dtype {value.dtype}")
        native = value.astype(value.dtype.newbyteorder("="), copy=False)
        arrays[name] = np.ascontiguousarray(native).reshape(value.shape)
        return {KIND: "array", "name": name}
    if isinstance(value, (list, tuple)):
        items = [_encode(item, arrays, f"{name}.{index}") for index, item in enumerate(value)]
        return items if isinstance(value, list) else {KIND: "tuple", "items": items}
    if (
        isinstance(value, dict)
        and all(isinstance(key, str) for key in value)
        and value.get(KIND) in (None, "object")
    ):
        return {key: _encode(item, arrays, f"{name}.{key}") for key, item in value.items()}
    raise _unsupported(name, type(value).__name__)


def _unsupported(name, what):
    return TypeError(
        f"{name} is of type {what}, which a model file cannot hold: set it to None, a number, a "
        "string or an array before saving, or keep the object with joblib.dump."
    )


def _decode(node, arrays):
    if isinstance(node, list):
        return [_decode(item, arrays) for item in node]
    if not isinstance(node, dict):
        return node
    kind = node.get(KIND)
    if kind in (None, "object"):
        return {key: _decode(item, arrays) for key, item in node.items()}
    if kind == "array":
        return arrays[node["name"]]
    if kind == "strings":
        return np.array(node["items"], dtype=object).reshape(node["shape"])
    if kind == "tuple":
        return tuple(_decode(item, arrays) for item in node["items"])
    raise TypeError(f"unknown kind of value {kind!r}")

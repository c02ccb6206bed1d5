"""Fuzzed model files: safetensors with a JSON tree in the header."""

import json
import pickle
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np

from ._damage import all_places, cut, damage_tree, flip_bits, random_json, splice
from ._outcomes import Case, Defect, attempt

_NAME = "model.safetensors"


@cache
def _models():
    """Bytes of a file of every kind of model, each trained on next to nothing."""
    from sklearn.pipeline import make_pipeline

    from galaxysegment import (
        KMeansSegmenter,
        PhotutilsSegmenter,
        RandomForestSegmenter,
        UNetSegmenter,
    )
    from galaxysegment.persistence import save
    from galaxysegment.preprocessing import (
        BackgroundSubtractor,
        GaussianSmoother,
        ImageNormalizer,
        NoiseNormalizer,
    )
    from galaxysegment.testing import make_images

    X, y = make_images(2)
    forest = {"n_estimators": 3, "max_depth": 4, "features": None, "random_state": 0}
    net = UNetSegmenter(base_width=2, depth=2, max_epochs=1, validation_fraction=0, random_state=0)
    estimators = [
        GaussianSmoother(),
        NoiseNormalizer(),
        PhotutilsSegmenter(),
        KMeansSegmenter(random_state=0),
        RandomForestSegmenter(**forest),
        net,
        make_pipeline(
            BackgroundSubtractor(),
            GaussianSmoother(),
            ImageNormalizer(),
            RandomForestSegmenter(**forest),
        ),
    ]
    files = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for estimator in estimators:
            save(estimator.fit(X, y), f"{folder}/{_NAME}")
            files.append(_in_order((Path(folder) / _NAME).read_bytes()))
    return files


def _in_order(data):
    """Sort the header: safetensors writes it in another order in every process."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _any_model(rng):
    return bytearray(_models()[int(rng.integers(len(_models())))])


def _take_apart(data):
    """Metadata and tensors of a safetensors file."""
    from safetensors.numpy import load

    length = int.from_bytes(data[:8], "little")
    return json.loads(bytes(data[8 : 8 + length]))["__metadata__"], load(bytes(data))


def _put_together(metadata, tensors, path):
    from safetensors.numpy import save_file

    save_file(tensors, path, metadata=metadata)
    return Case(path)


def _forge(rng, folder, change):
    """Write a file whose tree was changed by someone who writes such files.

    Its checksum is right.
    """
    from galaxysegment._utils.model_file import read_model_file, write_model_file

    path = folder / _NAME
    path.write_bytes(_any_model(rng))
    tree = read_model_file(path)
    tree = change(tree)
    try:
        write_model_file(path, tree)
    except TypeError:  # values that no such file can hold
        path.write_bytes(b"")
    return Case(path)


def _write(folder, data, must_fail=False):
    path = folder / _NAME
    path.write_bytes(data)
    return Case(path, must_fail=must_fail)


def truncated(rng, folder):
    data = _any_model(rng)
    return _write(folder, cut(rng, data, 512)[: len(data) - 1], must_fail=True)


def bits(rng, folder):
    data = _any_model(rng)
    damaged = flip_bits(rng, data, int(rng.integers(1, 30)))
    return _write(folder, damaged, must_fail=damaged != data)


def header_bits(rng, folder):
    data = _any_model(rng)
    length = 8 + int.from_bytes(data[:8], "little")
    damaged = flip_bits(rng, data[:length], int(rng.integers(1, 10))) + data[length:]
    return _write(folder, damaged)


def header_length(rng, folder):
    data = _any_model(rng)
    lengths = [0, 1, 7, 10**6, 10**8 + 1, 2**31, 2**40, 2**63, 2**64 - 1]
    data[:8] = lengths[int(rng.integers(len(lengths)))].to_bytes(8, "little")
    return _write(folder, data, must_fail=True)


def shifted(rng, folder):
    return _write(folder, splice(rng, _any_model(rng)))


def offsets(rng, folder):
    """Tensors that lie outside the file, over each other, or have other types and shapes than their
    bytes.
    """
    data = _any_model(rng)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + length]))
    for name in [name for name in header if name != "__metadata__" and rng.random() < 0.5]:
        entry = header[name]
        kind = int(rng.integers(4))
        entry["data_offsets"] = (
            entry["data_offsets"] if kind else [int(offset) for offset in rng.integers(0, 2**40, 2)]
        )
        entry["dtype"] = str(
            rng.choice(["F64", "I32", "BF16", "F8_E4M3", "BOOL", "U64", "C64", "X"])
            if kind == 1
            else entry["dtype"]
        )
        entry["shape"] = (
            [2**40, 2**30] if kind == 2 else random_json(rng) if kind == 3 else entry["shape"]
        )
    text = json.dumps(header).encode()
    return _write(folder, len(text).to_bytes(8, "little") + text + data[8 + length :])


def metadata(rng, folder):
    """Another format, version or checksum, or none."""
    parts, tensors = _take_apart(_any_model(rng))
    for name in list(parts):
        values = [
            "",
            "0",
            "2",
            "99",
            "-1",
            "1.0",
            "²",
            "9" * 5000,
            "galaxysegment",
            "pt",
            "{}",
            "null",
        ]
        if rng.random() < 0.4:
            parts[name] = values[int(rng.integers(len(values)))]
        elif rng.random() < 0.2:
            del parts[name]
    return _put_together(parts, tensors, folder / _NAME)


_TREES = [
    "[" * 100_000,
    '{"a":' * 50_000,
    "9" * 10_000,
    '{"__kind__": "object", "class": "GaussianSmoother", "params": {"fwhm": '
    + "9" * 5000
    + '}, "state": null}',
    '{"__kind__": "tuple", "items": 3}',
    '{"__kind__": "strings", "items": ["a"], "shape": [1000000000000]}',
    '{"__kind__": "object"}',
    "null",
    "NaN",
    "\x00",
    '{"__kind__": ["object"], "class": "os.system"}',
    '{"__kind__": "object", "class": ["os"], "params": {}, "state": null}',
    '{"__kind__": "object", "class": "KMeans", "params": {"__class__": 1}, "state": {}}',
    '{"__kind__": "object", "class": "subprocess.Popen", "params": {"args": "touch {}"}, '
    '"state": null}',
]


def trees(rng, folder):
    """JSON in the header that makes no sense, or no end."""
    parts, tensors = _take_apart(_any_model(rng))
    parts["tree"] = _TREES[int(rng.integers(len(_TREES)))]
    parts.pop("checksum", None)
    return _put_together(parts, tensors, folder / _NAME)


def forged_tree(rng, folder):
    """Any value of the tree replaced, deleted or repeated."""
    return _forge(rng, folder, lambda tree: damage_tree(rng, tree, int(rng.integers(1, 4))))


def forged_arrays(rng, folder):
    """Arrays of other types, shapes and values.

    What libraries written in C read without looking.
    """

    def change(tree):
        places = [place for place in all_places(tree) if isinstance(_at(tree, place), np.ndarray)]
        for index in (
            rng.integers(0, max(1, len(places)), int(rng.integers(1, 4))) if places else ()
        ):
            *above, key = places[index]
            _at(tree, above)[key] = _other_array(rng, _at(tree, places[index]))
        return tree

    return _forge(rng, folder, change)


def _at(tree, place):
    for step in place:
        tree = tree[step]
    return tree


def _other_array(rng, array):
    if array.dtype == object:
        return array[:0]
    kind = int(rng.integers(7))
    if kind == 0:
        with np.errstate(all="ignore"):
            return array.astype(rng.choice(["f8", "f4", "i8", "i4", "u1", "f2", "?", "u8"]))
    if kind == 1:
        return array.ravel()[: int(rng.integers(0, 3))]
    if kind == 2:
        return array[None]
    if kind == 3:
        return array[..., :-1] if array.ndim and array.shape[-1] > 1 else array
    array = np.array(array, dtype=array.dtype if kind < 6 else np.float64)
    flat = array.reshape(-1)
    values = (
        [-1, 0, 1, 2**31 - 1, -(2**31), 127, 10**6] if kind < 6 else [np.nan, np.inf, -1e300, 1e300]
    )
    for index in rng.integers(0, flat.size, 3) if flat.size else ():
        with np.errstate(all="ignore"):
            flat[index] = np.array(values[int(rng.integers(len(values)))]).astype(array.dtype)
    return array


_SIZES = [0, -1, 10**3, 10**6, 10**9, 10**12, 2**63, 1e300, float("nan"), "x", None, [], {}]


def forged_sizes(rng, folder):
    """Numbers in the tree that say how much memory or how many threads to take."""

    def change(tree):
        wanted = [place for place in all_places(tree) if type(_at(tree, place)) is int]
        for index in rng.integers(0, len(wanted), int(rng.integers(1, 3))) if wanted else ():
            *above, key = wanted[index]
            _at(tree, above)[key] = _SIZES[int(rng.integers(len(_SIZES)))]
        return tree

    return _forge(rng, folder, change)


def forged_classes(rng, folder):
    """Names of classes, parameters and attributes that a loader must not follow."""
    names = [
        "os.system",
        "Pipeline",
        "KMeans",
        "GaussianSmoother",
        "RandomForestClassifier",
        "UNetSegmenter",
        "__main__",
    ]
    names += [
        "builtins.eval",
        "PCA",
        "",
        "BaseSegmenter",
        "all_estimators",
        "../x",
        "FunctionTransformer",
    ]
    keys = [
        "__class__",
        "__dict__",
        "__init__",
        "fit",
        "predict",
        "memory",
        "weights",
        "callbacks",
        "_x",
        "x_",
        "net_",
    ]

    def change(tree):
        nodes = [tree, *(_at(tree, place) for place in all_places(tree))]
        objects = [
            node for node in nodes if isinstance(node, dict) and node.get("__kind__") == "object"
        ]
        for node in objects:
            if rng.random() < 0.5:
                node["class"] = names[int(rng.integers(len(names)))]
            part = node[str(rng.choice(["params", "state"]))]
            if isinstance(part, dict):
                part[keys[int(rng.integers(len(keys)))]] = random_json(rng)
        return tree

    return _forge(rng, folder, change)


def foreign(rng, folder):
    """Pickles, archives, models of torch, noise, nothing."""
    import torch

    kind = int(rng.integers(6))
    path = folder / _NAME
    if kind == 0:
        path.write_bytes(pickle.dumps(_Payload(folder / "executed")))
    elif kind == 1:
        torch.save({"x": _Payload(folder / "executed")}, path)
    elif kind == 2:
        np.save(
            folder / "a.npy",
            np.array([_Payload(folder / "executed")], dtype=object),
            allow_pickle=True,
        )
        path.write_bytes((folder / "a.npy").read_bytes())
    elif kind == 3:
        path.write_bytes(rng.bytes(int(rng.integers(1, 5000))))
    elif kind == 4:
        path.write_bytes(b"")
    else:
        return _put_together({"format": "pt"}, {"../../x": np.zeros(3), "": np.zeros(0)}, path)
    return Case(path, must_fail=True)


class _Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


_ALL = (
    truncated,
    bits,
    header_bits,
    header_length,
    shifted,
    offsets,
    metadata,
    trees,
    forged_tree,
    forged_arrays,
)
KINDS = {function.__name__: function for function in (*_ALL, forged_sizes, forged_classes, foreign)}
# What a model that someone made up may raise when it is used; never a crash or all of the memory.
_IN_USE = (
    ValueError,
    OSError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    ArithmeticError,
    RuntimeError,
    Warning,
)


def check(case, thorough=False):
    """Load a model, and use it where that goes well."""
    from galaxysegment.persistence import load
    from galaxysegment.testing import make_images

    error, model = attempt(load, case.path, names=(case.path.name,))
    if case.must_fail and error is None:
        raise Defect(f"loaded {type(model).__name__} out of a damaged file")
    if error is None:
        X, _ = make_images(1)
        for name in ("predict", "transform", "__repr__"):
            if hasattr(model, name):
                _use(getattr(model, name), *(() if name == "__repr__" else (X,)))
    if (case.path.parent / "executed").exists():
        raise Defect("code of the file was executed")
    return "read" if error is None else "error"


def _use(function, *args):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(*args)
    except _IN_USE:
        pass
    except MemoryError as error:
        raise Defect("using the model takes the memory") from error


def warm_up():
    """Train the models, and use each once, before memory is limited."""
    with tempfile.TemporaryDirectory() as folder:
        for data in _models():
            path = Path(folder) / _NAME
            path.write_bytes(data)
            check(Case(path))

"""Identify values by their content: the same in every process, which hashes of pickles are not.

A pickle of a net differs from process to process. It depends on memory addresses, on strings that
happen to be one object, and on the order of sets.
"""

import copyreg
import hashlib
import re
import sys
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from uuid import uuid4

import numpy as np

_PACKAGE = __name__.partition(".")[0]
# A fitted segmenter does not predict with these: the times of its epochs, the seed of its next fit.
_NO_MATTER = {"history", "seed"}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16


def identify(value):
    """Return a hexadecimal number that identifies a value by its content.

    Parameters
    ----------
    value : object
        Number, string, container, array, tensor, torch module, function, estimator, or another
        object that can be pickled. The class, the parameters and the learnt arrays of an estimator
        count; the duration of its training and its random seed do not.

    Returns
    -------
    str
        Equal in every process if the values are equal. A value without content to compare, such as
        a lock, gets another number at every call.
    """
    return _Walk().digest(value).hex()


def identify_file(path):
    """Return the size, the time of change and a hash of sampled blocks of a file, as JSON values.

    The hash covers the first block, which holds the first header, the last block, and 62 between
    them. It differs for another file even if size and time agree.
    """
    status = path.stat()
    return [
        str(path.resolve()),
        status.st_size,
        status.st_mtime_ns,
        _sample(path, status.st_size),
    ]


def _sample(path, size):
    total = hashlib.blake2b(digest_size=16)
    last = max(size - _SAMPLE_BYTES, 0)
    starts = sorted({last * step // (_SAMPLES - 1) for step in range(_SAMPLES)})
    with path.open("rb") as file:
        for start in starts:
            file.seek(start)
            total.update(file.read(_SAMPLE_BYTES))
    return total.hexdigest()


class _Walk:
    """One walk through a value and all that it holds."""

    def __init__(self):
        self._done = {}  # id of an object: its hash, and the object, so that no other gets its id
        self._open = {}  # id of an object that is being walked through: its depth

    def digest(self, value):
        """Hash of a value, 16 bytes."""
        key = id(value)
        if key in self._done:
            return self._done[key][0]
        if key in self._open:  # it holds itself
            return hashlib.blake2b(f"level {self._open[key]}".encode(), digest_size=16).digest()
        self._open[key] = len(self._open)
        kind, parts = self._take_apart(value)
        total = hashlib.blake2b(kind.encode(), digest_size=16)
        for part in parts:
            total.update(part if isinstance(part, bytes | memoryview) else self.digest(part))
        del self._open[key]
        self._done[key] = total.digest(), value
        return total.digest()

    def _take_apart(self, value):
        """Return the kind of a value and its parts: bytes, or values to walk through."""
        kind = next((take for types, take in _KINDS if isinstance(value, types)), None)
        return kind(self, value) if kind else self._torch(value) or self._object(value)

    def _plain(self, value):
        return type(value).__name__, [repr(value).encode()]

    def _sequence(self, value):
        return type(value).__name__, list(value)

    def _set(self, value):
        return "set", sorted(self.digest(item) for item in value)

    def _dict(self, value):
        pairs = (self.digest(key) + self.digest(item) for key, item in value.items())
        return type(value).__name__, sorted(pairs)

    def _partial(self, value):
        return "partial", [value.func, value.args, value.keywords]

    def _module(self, value):
        return "module", [value.__name__]

    def _definition(self, value):
        name = f"{value.__module__}.{value.__qualname__}"
        if isinstance(value, FunctionType) and "<" in name:  # several may have this name
            code = value.__code__
            names = [str(item) for item in (*code.co_names, *code.co_varnames)]
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            constants = [_ADDRESS.sub("", repr(item)) for item in code.co_consts]
            return name, [code.co_code, names, constants, value.__defaults__, cells]
        return "definition", [name.encode()]

    def _array(self, array):
        array = np.asanyarray(array)  # a single number of numpy too
        if isinstance(array, np.ma.MaskedArray):
            return "masked", [np.ma.getdata(array), np.ma.getmaskarray(array)]
        kind = f"array {array.dtype.str} {array.shape}"
        if array.dtype.names:  # padding between fields holds anything
            return kind, [np.ascontiguousarray(array[name]) for name in array.dtype.names]
        if array.dtype.hasobject:
            return kind, array.ravel().tolist()
        if not array.flags.c_contiguous and array.ndim:
            return kind, (_bytes(row) for row in array)
        return kind, [_bytes(array)]

    def _torch(self, value):
        """Tensors and modules of torch, if it is loaded at all: without it there are none."""
        torch = sys.modules.get("torch")
        if torch is None:
            return None
        if isinstance(value, torch.Tensor):
            tensor = value.detach().cpu().contiguous()
            kind = f"tensor {tensor.dtype} {tuple(tensor.shape)}"
            return kind, [_bytes(tensor.reshape(-1).view(torch.uint8).numpy())]
        if isinstance(value, torch.nn.Module):
            return _name(value), [_ADDRESS.sub("", repr(value)), dict(value.state_dict())]
        if isinstance(value, torch.dtype | torch.device):
            return "torch", [str(value)]
        return None

    def _object(self, value):
        if hasattr(value, "get_params"):
            return _name(value), [value.get_params(deep=False), _learnt(value)]
        reduce = copyreg.dispatch_table.get(type(value), _reduce)
        try:
            reduced = reduce(value)
        except Exception:  # whatever an object raises that cannot be pickled
            return "unknown", [uuid4().bytes]
        if isinstance(reduced, str):
            return _name(value), [reduced]
        maker, arguments, *state = reduced
        state = [list(part) if hasattr(part, "__next__") else part for part in state]
        return _name(value), [maker, arguments, state]


def _reduce(value):
    return value.__reduce_ex__(4)


_KINDS = (
    (type(None) | bool | int | float | complex | str | bytes, _Walk._plain),
    (np.ndarray | np.generic, _Walk._array),
    (list | tuple, _Walk._sequence),
    (set | frozenset, _Walk._set),
    (dict, _Walk._dict),
    (partial, _Walk._partial),
    (ModuleType, _Walk._module),
    (type | FunctionType | BuiltinFunctionType, _Walk._definition),
)


def _learnt(estimator):
    """Return the arrays and numbers that an estimator predicts with, besides its parameters."""
    if hasattr(estimator, "_get_model_state"):
        state = estimator._get_model_state() if estimator.__sklearn_is_fitted__() else {}
        return {name: value for name, value in state.items() if name not in _NO_MATTER}
    room = type(estimator).__module__.partition(".")[0]
    if room in {_PACKAGE, "sklearn"}:
        return {name: value for name, value in vars(estimator).items() if _is_learnt(name)}
    params = estimator.get_params(deep=False)
    return {name: value for name, value in vars(estimator).items() if name not in params}


def _is_learnt(name):
    return name.endswith("_") and not name.startswith("_")


def _name(value):
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _bytes(array):
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))

"""The folder of unfinished work beside the output: the records of tiles, the run's arguments."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import zlib
from math import prod
from pathlib import Path
from uuid import uuid4

import numpy as np
from joblib.externals.loky.backend import resource_tracker

from .._utils.identity import identify

_ABOUT, _LOCK = "run.json", "lock"
#: Label map of the sources, if the run finds them itself; it is made by a run of its own.
FOUND = "sources.fits"
_SUM = "checksum"
_MAGIC = b"galaxysegment 3\n"  # of a record; the number changes with what records hold
_SUM_BYTES = 32
_LENGTH_BYTES = 8  # of the number that says how long the list of arrays is
# The folder vanishes if another process finishes while this one claims it; after so many times,
# give up.
_TRIES = 1000


class RecordError(RuntimeError):
    """The record of a tile is missing, damaged, or of another run."""


class Memory:
    """Records of finished tiles if one process does everything and nothing is kept."""

    path = None

    def __init__(self):
        self._records = {}

    def claim(self):
        """Do nothing: no other process can see this memory."""

    def start(self, about, *, resume):
        """Do nothing: there is nothing to go on with."""

    def is_own(self):
        """Whether nobody else took the records: nobody can."""
        return True

    def close(self, *, keep):
        """Do nothing: the records go with the run."""

    def save(self, kind, index, record):
        """Store a dict of arrays."""
        self._records[kind, index] = record

    def load(self, kind, index, names):
        """Return a dict of the named arrays of a record."""
        record = self._records[kind, index]
        return {name: record[name] for name in names}


class WorkFolder:
    """Records of finished tiles on disk, which only one process at a time may claim.

    A record is there whole or not at all. Its checksum covers its content, its name and its run,
    and is compared at every reading: damaged records and records of other runs are never used.

    Parameters
    ----------
    path : path or None
        The folder; with ``None``, `claim` makes a temporary one, which never outlives the run.
    """

    def __init__(self, path=None):
        self.is_temporary = path is None
        self.path = path
        self.run = ""
        self._lock = None

    def __getstate__(self):
        return {**self.__dict__, "_lock": None}  # the lock is this process's own

    def claim(self):
        """Take the folder for this process; make it if it is not there.

        Raises
        ------
        RuntimeError
            If another process is at work in it.
        NotADirectoryError
            If a link or a file is in its place.
        """
        if self.is_temporary:
            self.path = Path(tempfile.mkdtemp(prefix="galaxysegment-"))
            # joblib's tracker deletes it if this process is killed.
            resource_tracker.register(str(self.path), "folder")
            return
        for _ in range(_TRIES):
            self._make()
            try:
                self._lock = _open_lock(self.path / _LOCK)
            except FileNotFoundError:
                continue  # another process has finished and deleted the folder
            is_free = _take_lock(self._lock)
            if is_free and self.is_own():
                return
            self._let_go()
            if is_free is None:
                return
            if not is_free:
                break
        raise RuntimeError(
            f"Another process is writing the same output (it works in {self.path}): wait for it, "
            "or choose another output."
        )

    def _make(self):
        with contextlib.suppress(FileExistsError):
            self.path.mkdir()
        try:
            is_folder = stat.S_ISDIR(self.path.lstat().st_mode)
        except (
            FileNotFoundError
        ):  # another process has finished and deleted it: the claim tries again
            return
        if not is_folder:
            raise NotADirectoryError(
                errno.ENOTDIR,
                "A link or a file is where unfinished work would be kept: delete it, or choose "
                "another output",
                str(self.path),
            )

    def is_own(self):
        """Whether this process still owns the folder, which somebody may have deleted."""
        if self._lock is None:
            return True
        try:
            there = (self.path / _LOCK).lstat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._lock))

    def start(self, about, *, resume):
        """Begin a run described by `about`, a dict of JSON values, or go on with it.

        Raises
        ------
        ValueError
            If `resume` is True and the records belong to a run with other parameters.
        """
        before = self._read_about()
        self.run = identify(about)
        if resume and before is not None:
            _check_same_run(before, about, self.path)
            self._sweep()
            return
        self.clear()
        draft = self.path / f"{_ABOUT}.{uuid4().hex}.part"
        draft.write_text(json.dumps({**about, _SUM: self.run}))
        draft.replace(self.path / _ABOUT)

    def _read_about(self):
        """Arguments of the run whose records are here; None if there are none that can be read."""
        try:
            before = json.loads((self.path / _ABOUT).read_text())
        except (FileNotFoundError, ValueError):
            return None
        is_whole = isinstance(before, dict) and before.pop(_SUM, None) == identify(before)
        return before if is_whole else None

    def clear(self):
        """Delete all records, and last the file with the run's arguments."""
        self._delete(lambda name: name not in {_ABOUT, _LOCK})
        (self.path / _ABOUT).unlink(missing_ok=True)

    def _sweep(self):
        """Delete the drafts, jobs and copies of the image that a killed run left."""
        kept = {_ABOUT, _LOCK, FOUND, work_path(Path(FOUND)).name}
        self._delete(lambda name: name not in kept and not name.endswith(".record"))

    def _delete(self, is_chosen):
        for entry in list(self.path.iterdir()):
            if is_chosen(entry.name):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink(missing_ok=True)

    def _file(self, kind, index):
        return self.path / f"{kind}{index:06d}-{self.run[:8]}.record"

    def save(self, kind, index, record):
        """Store a dict of arrays, of numbers or text."""
        target = self._file(kind, index)
        parts = _as_parts(record)
        draft = target.with_name(f"{target.name}.{uuid4().hex}.part")
        try:
            with draft.open("xb") as file:
                file.write(_MAGIC + self._sum_of(target, parts))
                for part in parts:
                    file.write(part)
            draft.replace(target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def _sum_of(self, target, parts):
        """Checksum of a record: of its run and its name, and of the CRC-32 of its content."""
        crc = size = 0
        for part in parts:
            crc, size = zlib.crc32(part, crc), size + len(part)
        about = f"{self.run} {target.name} {size} {crc}"
        return hashlib.blake2b(about.encode(), digest_size=_SUM_BYTES).digest()

    def load(self, kind, index, names):
        """Return a dict of the named arrays of a record.

        Raises
        ------
        RecordError
            If the record is not there as it was written.
        """
        target = self._file(kind, index)
        try:
            stored = memoryview(target.read_bytes())
        except FileNotFoundError:
            raise RecordError(f"The record {target} is missing.") from None
        start, content = stored[: len(_MAGIC) + _SUM_BYTES], stored[len(_MAGIC) + _SUM_BYTES :]
        if start != _MAGIC + self._sum_of(target, [content]):
            raise RecordError(f"The record {target} is damaged.")
        arrays = dict(_arrays_of(content))
        # A view of one array would keep all others in memory.
        return {name: arrays[name].copy() for name in names}

    def is_done(self, kind, index):
        """Whether a record is there and undamaged."""
        try:
            self.load(kind, index, ())
        except (RecordError, OSError):
            return False
        return True

    def close(self, *, keep):
        """Let go of the folder; delete it unless it is to be kept for another try."""
        has_run = (self.path / _ABOUT).exists()
        if self.is_own() and (self.is_temporary or not keep or not has_run):
            self._remove()
        self._let_go()
        if self.is_temporary:
            resource_tracker.unregister(str(self.path), "folder")

    def _let_go(self):
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _remove(self):
        """Delete the folder, its lock last: until then no other process can take it."""
        try:
            self.clear()
            (self.path / _LOCK).unlink(missing_ok=True)
            self.path.rmdir()
        except OSError:  # another process waits at the lock already, or the folder is gone
            return


def _as_parts(record):
    """Return the content of a record as pieces of bytes: what arrays there are, then the arrays."""
    arrays = {name: np.asarray(array) for name, array in record.items()}
    about = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    text = json.dumps(about).encode()
    flat = [np.ravel(array).view(np.uint8) for array in arrays.values()]
    return [len(text).to_bytes(_LENGTH_BYTES, "little"), text, *flat]


def _arrays_of(content):
    """Yield name and array of all that is in the content of a record."""
    place = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    for name, dtype, shape in json.loads(bytes(content[_LENGTH_BYTES:place])):
        array = np.frombuffer(content, dtype, prod(shape), place)
        yield name, array.reshape(shape)
        place += array.nbytes


def work_path(output):
    """Folder of the unfinished work on an output file."""
    return output.with_name(f".{output.name}.unfinished")


def _open_lock(path):
    # A link in its place is not followed.
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _take_lock(lock):
    """Lock an open file; False if another process holds it, None where there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return None
    return True


def _check_same_run(before, about, path):
    changed = [name for name in about if before.get(name) != about[name]]
    if changed:
        raise ValueError(
            f"resume=True, but the unfinished run in {path} had another "
            f"{', another '.join(changed)}: give the same arguments as then, or start over with "
            "resume=False."
        )

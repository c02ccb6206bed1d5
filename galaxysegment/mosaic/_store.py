"""The folder of unfinished work beside the output: what each tile found, and what the run was about."""

import json
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np

_ABOUT = "run.json"


class WorkFolder:
    """Records of finished tiles on disk. A record is there whole or not at all, and is checked when read.

    Parameters
    ----------
    path : path or None
        The folder; ``None`` makes a temporary one, which never outlives the run.
    """

    def __init__(self, path=None):
        self.is_temporary = path is None
        self.path = Path(tempfile.mkdtemp(prefix="galaxysegment-")) if path is None else Path(path)
        self._lock = None

    def __getstate__(self):
        return {**self.__dict__, "_lock": None}  # the lock is this process's own

    def start(self, about, *, resume):
        """Claim the folder for a run described by `about`, a dict of JSON values.

        Raises
        ------
        ValueError
            If what is there belongs to a run with other parameters.
        RuntimeError
            If another process is at work in it.
        """
        self.path.mkdir(exist_ok=True)
        self._claim()
        if resume:
            self._check_same_run(about)
        else:
            for stale in self.path.iterdir():
                if stale.name != "lock":
                    stale.unlink()
        draft = self.path / (_ABOUT + ".part")
        draft.write_text(json.dumps(about))
        draft.replace(self.path / _ABOUT)

    def _claim(self):
        try:
            import fcntl
        except ImportError:  # no such locks on Windows
            return
        self._lock = (self.path / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise RuntimeError(
                f"Another process is writing the same output (it works in {self.path}): wait for it, or choose "
                "another output."
            ) from None

    def _check_same_run(self, about):
        try:
            before = json.loads((self.path / _ABOUT).read_text())
        except FileNotFoundError:
            return
        changed = [name for name in about if before.get(name) != about[name]]
        if changed:
            raise ValueError(
                f"resume=True, but the unfinished run in {self.path} had another {', another '.join(changed)}: "
                "give the same arguments as then, or start over with resume=False."
            )

    def _file(self, kind, index):
        return self.path / f"{kind}{index:06d}.npz"

    def save(self, kind, index, record):
        """Store a dict of arrays."""
        target = self._file(kind, index)
        draft = target.with_suffix(".part")
        with draft.open("wb") as file:
            np.savez(file, **record)
        draft.replace(target)

    def load(self, kind, index, names):
        """Return a dict of the named arrays of a record."""
        with np.load(self._file(kind, index), allow_pickle=False) as record:
            return {name: record[name] for name in names}

    def is_done(self, kind, index, names):
        """Whether a record is there and undamaged; the checksums of its arrays are compared."""
        try:
            self.load(kind, index, names)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return False
        return True

    def close(self, *, keep):
        """Let go of the folder; delete it unless it is to be kept for another try."""
        if self._lock is not None:
            self._lock.close()
        if not keep or self.is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)


class Memory:
    """Records of finished tiles where one process does everything and nothing is kept."""

    path = None

    def __init__(self):
        self._records = {}

    def save(self, kind, index, record):
        """Store a dict of arrays."""
        self._records[kind, index] = record

    def load(self, kind, index, names):
        """Return a dict of the named arrays of a record."""
        record = self._records[kind, index]
        return {name: record[name] for name in names}

"""CSV tables of runs: a table for each setting, a row for each run, a column for each score.

A run is a dict of dicts. Its number at ``run["pixels"]["mean"]["iou"]`` stands in the column
``pixels.mean.iou``. Lists are written as JSON. An empty cell is a number that this run does not
have.
"""

import csv
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

_LOCK_SECONDS = 60.0


def read_runs(path):
    """Read a table.

    Parameters
    ----------
    path : path
        CSV file; it may be absent.

    Returns
    -------
    list of dict
    """
    if not Path(path).is_file():
        return []
    csv.field_size_limit(1 << 24)
    with Path(path).open(newline="", encoding="utf-8") as lines:
        return [_nested(row) for row in csv.DictReader(lines)]


def write_runs(path, runs):
    """Write a table: short columns first, lists of numbers last."""
    rows = [dict(_flat(run)) for run in runs]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    columns.sort(key=lambda name: any(isinstance(row.get(name), list) for row in rows))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as lines:
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(columns)
        table.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    part.replace(path)


def add_run(path, run, key):
    """Add a run to a table, in place of an earlier run for which ``key(run)`` is the same."""
    with _locked(Path(path)):
        kept = [other for other in read_runs(path) if key(other) != key(run)]
        write_runs(path, [*kept, run])


def _flat(run, prefix=""):
    """Yield (column, value) of all numbers, texts and lists."""
    for name, value in run.items():
        if "." in name:
            raise ValueError(f"A dot separates the names of a column: rename {name!r}.")
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


def _nested(row):
    run = {}
    for column, cell in row.items():
        if cell:
            *parents, name = column.split(".")
            place = run
            for parent in parents:
                place = place.setdefault(parent, {})
            place[name] = _value(column, cell)
    return run


def _cell(value):
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value(column, cell):
    if _is_text(column):
        return cell
    try:
        return json.loads(cell)
    except json.JSONDecodeError:
        return cell


def _is_text(column):
    """Whether a column holds text even if the text looks like a number."""
    texts = "variant", "label", "command", "date", "machine.threads"
    return column in texts or column.startswith(("versions.", "plan.params."))


@contextmanager
def _locked(path):
    """Let one process at a time change a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, end = path.with_suffix(".lock"), time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{lock} is {_LOCK_SECONDS:g} s old: if no other run is going on, delete it."
                ) from None
            time.sleep(0.05)
    try:
        yield
    finally:
        lock.unlink()

"""Plant small bugs in the package, one at a time, and count how many the tests notice.

A *mutant* is a copy of the package with one change: ``<`` for ``<=``, ``+`` for ``-``, 1 for 0, a
deleted statement, a dropped argument. A mutant is killed if a test fails, or runs into the time
limit. A survivor is a hole in the tests, or an equivalent mutant, which no test can kill:
``mutation_equivalents.toml`` lists those, with reasons.

    python -m benchmarks.mutation --package metrics --package catalog --sample 150

Each mutant lives in a scratch copy, so workers and subprocesses see it too. Tests run in a fork of
a process that has imported the libraries, and find the bytecode of all that was not changed. Only
the tests that reach the changed line run, two minutes of them at most: first those that killed
other mutants of this function and this file, then the fastest. A mutant that runs into the time
limit is killed only if the tests pass without it, in the same time, right after. One process works
at a time. Constants, defaults and decorated functions are changed as well, which mutmut 3.8 leaves
alone.

``--measured FILE`` keeps what the first run of all tests measured, for runs with other seeds.
``--without processes`` leaves out the test files whose path holds this word: a run is shorter then,
and its score a lower bound.
"""

import argparse
import contextlib
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from itertools import accumulate
from pathlib import Path

from .mutants import find_mutants

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENTS = Path(__file__).with_name("mutation_equivalents.toml")
#: What is changed, and the tests that have to notice. Doctests of a changed file always run.
PACKAGES = {
    "metrics": (["galaxysegment/metrics"], ["tests/metrics"]),
    "catalog": (["galaxysegment/catalog"], ["tests/catalog"]),
    "io": (
        ["galaxysegment/io"],
        ["tests/io", "tests/test_fields_as_images.py", "tests/mosaic/test_light.py"],
    ),
    "mosaic": (["galaxysegment/mosaic"], ["tests/mosaic"]),
    "losses": (
        [
            *("galaxysegment/nets/common/_losses.py", "galaxysegment/nets/detr/_loss.py"),
            "galaxysegment/nets/mask2former/_loss.py",
        ],
        [f"tests/nets/test_{name}.py" for name in ("losses", "loss_reference", "detr_modules")],
    ),
}
_LIBRARIES = (
    *("numpy", "scipy.ndimage", "scipy.sparse.csgraph", "scipy.optimize", "astropy.io.fits"),
    *("astropy.wcs", "astropy.table", "astropy.coordinates", "sklearn.pipeline", "joblib", "tqdm"),
    *("photutils.segmentation", "photutils.background", "pycocotools.cocoeval", "hypothesis"),
    *(
        "hypothesis.extra.numpy",
        "pytest",
        "pytest_timeout",
        "coverage",
        "skimage.measure",
        "matplotlib",
    ),
)
_NET_LIBRARIES = (
    *("torch", "skorch", "torchvision", "transformers.loss.loss_for_object_detection"),
    *("transformers.models.detr.modeling_detr",),
    "transformers.models.mask2former.modeling_mask2former",
)
_SHORTEST_LIMIT = 20  # seconds; a loaded machine is no bug
_BUDGET = 120  # seconds of tests for each mutant
_HOUR = 3600


def read_equivalents():
    """Reasons by (path, function, before, after)."""
    entries = tomllib.loads(EQUIVALENTS.read_text(encoding="utf-8")).get("mutant", [])
    return {
        (entry["path"], entry["function"], entry["before"], entry["after"]): entry["reason"]
        for entry in entries
    }


# --- tests --------------------------------------------------------------------------------------


class _Watcher:
    """A plugin of pytest: which test is running, how long each took, the first that failed."""

    def __init__(self, coverage=None, chosen=None):
        self.coverage, self.seconds, self.failed = coverage, {}, None
        self.rank = None if chosen is None else {test: rank for rank, test in enumerate(chosen)}

    def pytest_collection_modifyitems(self, items):
        if self.rank is not None:
            items[:] = [item for item in items if item.nodeid in self.rank]
            items.sort(key=lambda item: self.rank[item.nodeid])

    def pytest_configure(self):
        from hypothesis import Phase, settings

        options = {"phases": (Phase.explicit, Phase.generate), "database": None}
        settings.register_profile("mutants", settings.get_profile("suite"), **options)
        settings.load_profile("mutants")  # a failure needs no small example here

    def pytest_runtest_protocol(self, item):
        if self.coverage is not None:
            self.coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def _run_pytest(scratch, places, coverage=None, chosen=None):
    """Run tests in this process, which is a fork; return the exit code and the plugin.

    `chosen` are the tests to run, in this order, of all in the files `places`.
    """
    import pytest

    os.chdir(scratch)
    sys.path.insert(0, str(scratch))
    os.environ["PYTHONPATH"] = str(scratch)
    if chosen is not None:  # bytecode is kept of the code without a bug only
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    watcher = _Watcher(coverage, chosen)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # to import them would take half the time
    options = ["-x", "-q", "-p", "no:cacheprovider"]
    options += ["-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*options, *places], plugins=[watcher])), watcher


def _in_fork(work, limit):
    """Call ``work()`` in a fork and return what it returns.

    None if it exceeds `limit` seconds or crashes.
    """
    with tempfile.NamedTemporaryFile() as answer:
        child = os.fork()
        if not child:
            gc.freeze()  # what the parent left may wait, when it goes, for threads no fork has
            os.setsid()
            quiet = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(quiet, stream)
            try:
                Path(answer.name).write_text(json.dumps(work()), encoding="utf-8")
            except BaseException as error:
                Path(answer.name).write_text(json.dumps([-1, repr(error)]), encoding="utf-8")
            os._exit(0)
        deadline = time.monotonic() + limit
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):  # workers that a failed test has left behind
            os.killpg(child, signal.SIGKILL)
        text = Path(answer.name).read_text(encoding="utf-8")
    return json.loads(text) if text else None


def measure(scratch, files, tests):
    """Run all tests once without a bug.

    The seconds of each, and the tests that reach each line of each file.
    """

    def work():
        import coverage

        record = coverage.Coverage(data_file=None, include=[str(scratch / path) for path in files])
        record.start()
        code, watcher = _run_pytest(scratch, tests, record)
        record.stop()
        data = record.get_data()
        lines = {
            path: data.contexts_by_lineno(str(scratch / path))
            for path in files
            if str(scratch / path) in data.measured_files()
        }
        return code, watcher.failed, watcher.seconds, lines

    code, *rest = _in_fork(work, _HOUR) or [-1, "crashed or took an hour"]
    if code:
        sys.exit(f"The tests fail without any bug (exit code {code}): {rest[0]}. Mend them first.")
    return rest[1:]


def measure_once(scratch, files, tests, kept):
    """Measure, or read what an earlier run measured and put into the file `kept`.

    It counts only if nothing has changed in the package and the tests since then.
    """
    if not kept:
        return measure(scratch, files, tests)
    total = hashlib.blake2b(repr((files, tests)).encode())
    for path in sorted([*scratch.glob("galaxysegment/**/*.py"), *scratch.glob("tests/**/*.py")]):
        total.update(path.relative_to(scratch).as_posix().encode() + path.read_bytes())
    path, state = Path(kept), total.hexdigest()
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if state not in known:
        known[state] = measure(scratch, files, tests)
        path.write_text(json.dumps(known), encoding="utf-8")
    return known[state]


def choose_tests(mutant, seconds, lines, kills=(), budget=_BUDGET):
    """Tests that reach the changed lines; if that is not known, all that reach the file.

    `kills` are earlier mutants with the tests that killed them. Tests that killed more of the same
    function come first, then those that killed more of the same file, then the fastest.
    """
    reached = lines.get(mutant.path, {})
    first, last = mutant.lines
    tests = {
        test for line, names in reached.items() if first <= int(line) <= last for test in names
    }
    if not tests - {""}:
        tests = {test for names in reached.values() for test in names}
    of_file = Counter(test for other, test in kills if other.path == mutant.path)
    of_function = Counter(
        test
        for other, test in kills
        if (other.path, other.function) == (mutant.path, mutant.function)
    )
    tests = sorted(
        tests - {""} or set(seconds),
        key=lambda test: (-of_function[test], -of_file[test], seconds.get(test, 0)),
    )
    total = accumulate(seconds.get(test, 0) for test in tests)
    return [test for test, so_far in zip(tests, total, strict=True) if so_far <= budget] or tests[
        :1
    ]


def try_mutant(scratch, mutant, seconds, lines, kills=(), budget=_BUDGET):
    """Plant one bug; return "killed", "slow" or "survived", and the test that noticed it."""
    target = scratch / mutant.path
    source, times = target.read_bytes(), target.stat()
    start, stop = mutant.span
    tests = choose_tests(mutant, seconds, lines, kills, budget)
    source_with_bug = source[:start] + mutant.text.encode() + source[stop:]
    for batch in _batches(tests):
        limit = _SHORTEST_LIMIT + 5 * sum(seconds.get(test, 0) for test in batch)

        def work(batch=batch):
            places = dict.fromkeys(test.partition("::")[0] for test in batch)
            code, watcher = _run_pytest(scratch, places, chosen=batch)
            return code, watcher.failed

        try:
            target.write_bytes(source_with_bug)
            # Python tells by time and length whether bytecode is of this source.
            os.utime(target, (times.st_atime, times.st_mtime + _HOUR))
            result = _in_fork(work, limit)
        finally:
            target.write_bytes(source)
            os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
        if result is None:
            return ("slow" if (_in_fork(work, limit) or [-1])[0] == 0 else "survived"), None
        if result[0]:
            return "killed", result[1]
    return "survived", None


def _batches(tests):
    """Cut a list of tests into growing pieces: most bugs die in the first.

    A piece costs the collection of its files alone.
    """
    size = 30
    while tests:
        batch, tests = tests[:size], tests[size:]
        yield batch
        size *= 5


# --- the campaign -------------------------------------------------------------------------------


def _files_of(package):
    for place in PACKAGES[package][0]:
        path = ROOT / place
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        yield from (str(file.relative_to(ROOT)) for file in files if file.exists())


def _without(places, left_out):
    """Test files of some folders, without those whose path holds one of the words `left_out`."""
    if not left_out:
        return places
    paths = [
        file
        for place in places
        for file in (sorted((ROOT / place).rglob("test_*.py")) or [ROOT / place])
    ]
    names = [str(path.relative_to(ROOT)) for path in paths]
    return [name for name in names if not any(word in name for word in left_out)]


def run_package(package, options, equivalents):
    """Try a sample of the mutants of one package; print survivors; return the counts."""
    files = [path for path in _files_of(package) if options.file in path]
    mutants = [
        mutant
        for path in files
        for mutant in find_mutants(path, (ROOT / path).read_text(encoding="utf-8"))
    ]
    n_all = len(mutants)
    known = [mutant for mutant in mutants if mutant.key in equivalents]
    for key in sorted(
        {key for key in equivalents if key[0] in files} - {mutant.key for mutant in mutants}
    ):
        print(f"  {EQUIVALENTS.name} lists mutants that no longer exist: {' | '.join(key)}")
    mutants = [mutant for mutant in mutants if mutant.key not in equivalents]
    if options.sample and options.sample < len(mutants):
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    counts, kills = Counter(), []
    with tempfile.TemporaryDirectory(prefix="galaxysegment-mutants-") as folder:
        scratch = Path(folder).resolve() / "copy"
        ignored = shutil.ignore_patterns(".git", "docs", "*.pyc", ".venv", "build")
        shutil.copytree(ROOT, scratch, ignore=ignored)
        tests = [*_without(PACKAGES[package][1], options.without), *files, *options.tests]
        seconds, lines = measure_once(scratch, files, tests, options.measured)
        print(f"{package}: {n_all} mutants, {len(mutants)} tried, {len(seconds)} tests", flush=True)
        for number, mutant in enumerate(mutants, start=1):
            begin = time.monotonic()
            outcome, test = try_mutant(scratch, mutant, seconds, lines, kills, options.budget)
            counts[outcome] += 1
            kills += [(mutant, test)] if test else []
            took = {"outcome": outcome, "test": test, "seconds": time.monotonic() - begin}
            _note(options.output, mutant.__dict__ | took)
            if outcome == "survived":
                print(f"  survived {mutant}", flush=True)
            elif options.verbose:
                print(f"  {number} {outcome} {mutant} by {test}", flush=True)
    print(_summary(package, counts, len(known)), flush=True)
    return counts


def _note(path, result):
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")


def _summary(name, counts, n_equivalent):
    n = counts.total()
    dead = counts["killed"] + counts["slow"]
    return (
        f"{name}: {dead} of {n} killed ({100 * dead / max(n, 1):.1f} %; {counts['slow']} by the "
        "time limit), "
        f"{n_equivalent} known to be equivalent"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", action="append", choices=PACKAGES, help="all by default")
    parser.add_argument("--sample", type=int, default=100, help="mutants per package; 0 is all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", default="", help="only files whose path holds this")
    parser.add_argument("--tests", action="append", default=[], help="more tests to run")
    parser.add_argument("--without", nargs="+", default=[], help="words of test files left out")
    parser.add_argument("--budget", type=float, default=_BUDGET, help="seconds of tests a mutant")
    parser.add_argument("--measured", help="file for what all tests measured, read if it fits")
    parser.add_argument("--least", type=float, default=0, help="fail below this percentage")
    parser.add_argument("--output", help="append one JSON line per mutant to this file")
    parser.add_argument("--verbose", action="store_true", help="print the killed ones, too")
    options = parser.parse_args()
    packages = options.package or list(PACKAGES)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in _LIBRARIES + (_NET_LIBRARIES if {"losses", "mosaic"} & {*packages} else ()):
        __import__(name)
    gc.freeze()  # pytest collects garbage several times, which need not look at the libraries
    equivalents, total = read_equivalents(), Counter()
    for package in packages:
        total += run_package(package, options, equivalents)
    if len(packages) > 1:
        print(_summary("all", total, len(equivalents)))
    dead = total["killed"] + total["slow"]
    if 100 * dead < options.least * total.total():
        sys.exit(f"Fewer than {options.least} % of the mutants were killed.")


if __name__ == "__main__":
    main()

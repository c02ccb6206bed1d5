"""Read thousands of damaged, absurd and hostile files, each under a limit of memory and time.

    python benchmarks/fuzz.py 5000 --seed 0 [--areas fits models] [--kinds sky] [--memory 1.5] [--seconds 20]

Cases are drawn from the generators of tests/hardening/fuzzing and run in processes of their own, so that a crash
of a library or a hang is an outcome as well. The last lines say what came of every kind; the exit status is 1
where something must not have happened. A case is repeated by ``--one area kind seed``.
"""

import argparse
import collections
import contextlib
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "hardening"))

_BATCH = 300  # cases of one process: its leaks end with it


def main():
    arguments = _parse()
    if arguments.one:
        arguments.areas = arguments.one[:1]
    if arguments.one or arguments.worker:
        return _work(arguments)
    start = time.perf_counter()
    outcomes, defects = _run_all(_cases(arguments), arguments)
    _report(outcomes, defects, time.perf_counter() - start)
    return bool(defects)


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_cases", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--areas", nargs="+", default=None)
    parser.add_argument("--kinds", nargs="+", default=None)
    parser.add_argument(
        "--memory",
        type=float,
        default=1.5,
        help="GiB of address space beyond the libraries (%(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="for one case (%(default)s)")
    parser.add_argument(
        "--every",
        type=int,
        default=10,
        help="every so many cases also segment and score (%(default)s)",
    )
    parser.add_argument("--one", nargs=3, metavar=("AREA", "KIND", "SEED"), default=None)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _cases(arguments):
    """Area, kind and seed of every case, the kinds of all areas in turn."""
    import fuzzing

    kinds = [
        (name, kind)
        for name in arguments.areas or fuzzing.AREAS
        for kind in fuzzing.area(name).KINDS
    ]
    kinds = [one for one in kinds if arguments.kinds is None or one[1] in arguments.kinds]
    first = arguments.seed * 10**6
    return [(*kinds[index % len(kinds)], first + index) for index in range(arguments.n_cases)]


def _run_all(cases, arguments):
    """Hand the cases to one worker after the other; a new one after a crash or a hang."""
    outcomes, defects = collections.Counter(), []
    for first in range(0, len(cases), _BATCH):
        batch = collections.deque(cases[first : first + _BATCH])
        while batch:
            _run_batch(batch, arguments, outcomes, defects)
        print(
            f"{min(first + _BATCH, len(cases))} cases, {len(defects)} defects",
            file=sys.stderr,
            flush=True,
        )
    return outcomes, defects


def _run_batch(batch, arguments, outcomes, defects):
    command = [
        sys.executable,
        __file__,
        "--worker",
        "--memory",
        str(arguments.memory),
        "--every",
        str(arguments.every),
    ]
    command += ["--areas", *{case[0] for case in batch}]
    with tempfile.TemporaryFile() as errors:
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        if _read_line(worker, 1200) is None:  # nothing is ready: libraries imported, memory limited
            errors.seek(0)
            sys.exit(f"The worker did not start: {errors.read().decode(errors='replace')[-2000:]}")
        while batch:
            case = batch.popleft()
            with contextlib.suppress(BrokenPipeError):  # it crashed after its last answer
                worker.stdin.write(json.dumps(case) + "\n")
                worker.stdin.flush()
            answer = _read_line(worker, arguments.seconds)
            if answer is None:
                is_dead = worker.poll() is not None or _dies(worker)
                worker.kill()
                worker.wait()
                errors.seek(0)
                tail = errors.read()[-300:].decode(errors="replace")
                answer = ["crash" if is_dead else "hang", f"status {worker.returncode}: {tail}"]
                _count(case, answer, outcomes, defects)
                return
            _count(case, answer, outcomes, defects)
        worker.stdin.close()
        worker.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
        if any(word in said for word in ("Traceback", "Warning", "ignored in")):
            defects.append((("any", "stderr", case[2]), f"the process said {said[:600]!r}"))


def _dies(worker):
    """Whether a worker that closed its output is about to end."""
    try:
        worker.wait(2)
    except subprocess.TimeoutExpired:
        return False
    return True


def _read_line(worker, seconds):
    ready, _, _ = select.select([worker.stdout], [], [], seconds)
    line = worker.stdout.readline() if ready else ""
    return json.loads(line) if line else None


def _count(case, answer, outcomes, defects):
    outcomes[case[0], case[1], answer[0]] += 1
    if answer[0] not in ("error", "read"):
        defects.append((tuple(case), f"{answer[0]}: {answer[1]}"))
        print(*case, *answer, file=sys.stderr, flush=True)


def _report(outcomes, defects, seconds):
    columns = ("error", "read", "defect", "crash", "hang")
    print(f"{'area':<10}{'kind':<20}" + "".join(f"{name:>9}" for name in columns))
    rows = dict.fromkeys((area, kind) for area, kind, _ in outcomes)
    for area, kind in rows:
        print(
            f"{area:<10}{kind:<20}"
            + "".join(f"{outcomes[area, kind, name]:>9}" for name in columns)
        )
    totals = [sum(outcomes[*row, name] for row in rows) for name in columns]
    print(f"{'all':<30}" + "".join(f"{total:>9}" for total in totals))
    print(f"{sum(totals)} cases in {seconds:.0f} s, {len(defects)} defects")
    for case, what in defects:
        print(" ".join(map(str, case)), "|", what.replace("\n", " ")[:500])


# ---- the other side ----


def _work(arguments):
    """Read cases from the standard input and answer each in a line."""
    import fuzzing

    for name in arguments.areas or fuzzing.AREAS:
        fuzzing.area(name).warm_up()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _limit_memory(arguments.memory)
    if arguments.one:
        area, kind, seed = arguments.one
        print(_run_one(area, kind, int(seed), arguments.every, raises=True), file=sys.stderr)
        return 0
    for line in _lines(answers):
        answers.write(json.dumps(_run_one(*json.loads(line), arguments.every)) + "\n")
        answers.flush()
    return 0


def _lines(answers):
    answers.write("[]\n")
    answers.flush()
    yield from sys.stdin


def _limit_memory(gibibytes):
    """Limit the address space to what the libraries take now and so much more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + int(gibibytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _run_one(area, kind, seed, every, raises=False):
    import fuzzing
    import numpy as np

    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        module = fuzzing.area(area)
        rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
        case = module.KINDS[kind](rng, folder)
        return [module.check(case, thorough=bool(rng.integers(every) == 0)), ""]
    except Exception as error:
        if raises:
            raise
        return ["defect", f"{type(error).__name__}: {error}"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

"""Read thousands of damaged, absurd and hostile files, each under a limit of memory and time.

    python benchmarks/fuzz.py 5000 --seed 0 [--areas fits models] [--kinds sky] [--memory 1.5]
        [--seconds 20]
    python benchmarks/fuzz.py 100000 --workers 2 --state campaign.json

The generators of tests/hardening/fuzzing make the cases. Cases run in other processes, so that a
crash of a library and a hang are outcomes as well. The last lines count the outcomes of every kind.
The exit status is 1 if there was a defect. ``--one AREA KIND SEED`` repeats a case. With
``--state``, a campaign that was stopped continues where it was, also with a larger number of cases.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "hardening"))

_BATCH = 500  # cases of one process: its leaks end with it


def main():
    arguments = _parse()
    if arguments.one:
        arguments.areas = arguments.one[:1]
    if arguments.one or arguments.worker:
        return _work(arguments)
    campaign = Campaign(arguments)
    try:
        campaign.run()
    except KeyboardInterrupt:
        print("stopped; --state continues it", file=sys.stderr)
        os._exit(130)  # workers end with their standard input
    campaign.report()
    return bool(campaign.defects)


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
    parser.add_argument("--workers", type=int, default=1, help="processes (%(default)s)")
    parser.add_argument("--state", type=Path, default=None, help="file to stop and continue with")
    parser.add_argument("--one", nargs=3, metavar=("AREA", "KIND", "SEED"), default=None)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


class Campaign:
    """The cases of one call in batches, and what came of those that are done.

    A batch is a number of cases that one process reads, unless it crashes or hangs.
    """

    def __init__(self, arguments):
        self.arguments = arguments
        # By the first case of a batch: number of cases, how often which outcome, defects.
        self.batches, self.seconds = {}, 0.0
        self._lock = threading.Lock()
        self._start = time.perf_counter()
        names = ("seed", "areas", "kinds", "memory", "seconds", "every")
        self._setting = {name: getattr(arguments, name) for name in names}
        if arguments.state is not None and arguments.state.exists():
            self._load()

    def _load(self):
        state = json.loads(self.arguments.state.read_text())
        if state["setting"] != self._setting:
            sys.exit(f"{self.arguments.state} is of a campaign with {state['setting']}.")
        self.batches = {int(start): batch for start, batch in state["batches"].items()}
        self.seconds = state["seconds"]

    def _save(self):
        if self.arguments.state is None:
            return
        state = {"setting": self._setting, "seconds": self._elapsed(), "batches": self.batches}
        draft = self.arguments.state.with_suffix(".part")
        draft.write_text(json.dumps(state))
        draft.replace(self.arguments.state)

    @property
    def n_cases(self):
        """Number of cases that are done."""
        return sum(batch["n_cases"] for batch in self.batches.values())

    @property
    def defects(self):
        """Pairs of a case and of what happened, for everything that must not happen."""
        return [defect for batch in self.batches.values() for defect in batch["defects"]]

    def _elapsed(self):
        return self.seconds + time.perf_counter() - self._start

    def _kinds(self):
        import fuzzing

        areas = self.arguments.areas or fuzzing.AREAS
        kinds = [(name, kind) for name in areas for kind in fuzzing.area(name).KINDS]
        wanted = self.arguments.kinds
        return [kind for kind in kinds if wanted is None or kind[1] in wanted]

    def run(self):
        """Run all batches that are not done."""
        kinds, n_cases = self._kinds(), self.arguments.n_cases
        first = self.arguments.seed * 10**6
        # All kinds in turn; the area, the kind and the seed make a case.
        cases = [(*kinds[index % len(kinds)], first + index) for index in range(n_cases)]
        batches = {start: cases[start : start + _BATCH] for start in range(0, n_cases, _BATCH)}
        with concurrent.futures.ThreadPoolExecutor(self.arguments.workers) as pool:
            tasks = [
                pool.submit(self._run, start, batch)
                for start, batch in batches.items()
                # The last batch of a smaller campaign had fewer cases.
                if start not in self.batches or self.batches[start]["n_cases"] < len(batch)
            ]
            for task in concurrent.futures.as_completed(tasks):
                task.result()

    def _run(self, start, cases):
        left, answers, defects = collections.deque(cases), [], []
        while left:
            _run_batch(left, self.arguments, answers, defects)
        outcomes = collections.Counter()
        for (area, kind, _), (outcome, _) in answers:
            outcomes[f"{area} {kind} {outcome}"] += 1
        defects += [
            (case, f"{outcome}: {what}")
            for case, (outcome, what) in answers
            if outcome not in ("error", "read")
        ]
        batch = {"n_cases": len(cases), "outcomes": outcomes, "defects": defects}
        with self._lock:
            self.batches[start] = batch
            self._save()
            for case, what in defects:
                print(*case, what, file=sys.stderr)
            told = f"{self.n_cases} cases, {len(self.defects)} defects"
            print(told, file=sys.stderr, flush=True)

    def report(self):
        """Print how often each kind came to which outcome, and the defects."""
        columns = ("error", "read", "defect", "crash", "hang")
        print(f"{'area':<10}{'kind':<20}" + "".join(f"{name:>9}" for name in columns))
        outcomes = collections.Counter()
        for batch in self.batches.values():
            outcomes.update(batch["outcomes"])
        rows = dict.fromkeys(tuple(name.split()[:2]) for name in outcomes)
        for area, kind in rows:
            counts = "".join(f"{outcomes[f'{area} {kind} {name}']:>9}" for name in columns)
            print(f"{area:<10}{kind:<20}{counts}")
        totals = [sum(outcomes[f"{' '.join(row)} {name}"] for row in rows) for name in columns]
        print(f"{'all':<30}" + "".join(f"{total:>9}" for total in totals))
        print(f"{self.n_cases} cases in {self._elapsed():.0f} s, {len(self.defects)} defects")
        for case, what in self.defects:
            print(*case, "|", what.replace("\n", " ")[:500])


def _run_batch(batch, arguments, answers, defects):
    """Hand cases to a new worker until all are answered, or one ends or stops the worker."""
    command = [sys.executable, __file__, "--worker", "--memory", str(arguments.memory)]
    command += ["--every", str(arguments.every), "--areas", *{case[0] for case in batch}]
    with tempfile.TemporaryFile() as errors:
        worker = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Ctrl-C is for this process alone, or it would look like a crash
            start_new_session=True,
        )
        if _read_line(worker, 1200) is None:  # nothing is ready: libraries imported, memory limited
            raise RuntimeError(f"The worker did not start: {_tail(errors, 2000)}")
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
                said = f"status {worker.returncode}: {_tail(errors, 300)}"
                answers.append((case, ["crash" if is_dead else "hang", said]))
                return
            answers.append((case, answer))
        worker.stdin.close()
        worker.wait()
        said = _tail(errors, 10**6)
        if any(word in said for word in ("Traceback", "Warning", "ignored in")):
            defects.append((("any", "stderr", case[2]), f"the process said {said[:600]!r}"))


def _tail(errors, length):
    errors.seek(0)
    return errors.read()[-length:].decode(errors="replace")


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

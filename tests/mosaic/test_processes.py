"""Mosaics and the processes around them: resumed by another, terminated, threaded, optimized."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from galaxysegment import PhotutilsSegmenter
from galaxysegment._utils.discovery import all_estimators
from galaxysegment.base import BaseSegmenter
from galaxysegment.mosaic import TileError, segment_mosaic

HARDENING = Path(__file__).parents[1] / "hardening"
OPTIONS = {"tile_size": 25, "overlap": 16, "progress": False}


class Sleeping(BaseSegmenter):
    """Tells its process number and sleeps."""

    _requires_fit = False
    splits_blends = False
    reach = 1

    def __init__(self, *, folder=None):
        self.folder = folder

    def _segment_image(self, image):
        (Path(self.folder) / f"{os.getpid()}.pid").touch()
        time.sleep(60)


class Failing(Sleeping):
    """Fails on every tile, in one with other tiles at work."""

    def _segment_image(self, image):
        time.sleep(0.05 * np.random.default_rng().random())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raise ValueError("this tile is bad")


def run_python(code, *flags, first=HARDENING, **environment):
    path = os.pathsep.join([str(first), str(HARDENING), str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", *flags, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_alive(pid):
    """Whether a process runs; one that has ended and waits to be noticed does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


_START = """
import json, os, sys
import numpy as np
from properties import fitted, n_bands
from galaxysegment import UNetSegmenter
from galaxysegment.mosaic import _store, segment_mosaic
from galaxysegment.persistence import load, save
from galaxysegment.testing import make_images

folder, names = sys.argv[1], sys.argv[2:]
save_record, n_saved = _store.WorkFolder.save, 0


def count(self, *arguments):
    global n_saved
    save_record(self, *arguments)
    n_saved += 1
    if n_saved == stop_after:
        os.kill(os.getpid(), 9)


def segment(name, output, **options):
    is_shipped = name == "shipped"
    segmenter = UNetSegmenter(weights="vis", n_views=1) if is_shipped else load(f"{folder}/{name}")
    image = np.concatenate(make_images(3, n_bands=n_bands(name))[0], axis=-1)
    output = f"{folder}/{name}-{output}.fits"
    segment_mosaic(segmenter, image, output=output, tile_size=24, progress=False, **options)


_store.WorkFolder.save = count
"""
_KILL = """
stop_after = 3
for name in names:
    if name != "shipped":
        save(fitted(name), f"{folder}/{name}")
    pid = os.fork()
    if not pid:
        segment(name, "killed")
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
"""
_RESUME = """
stop_after, counts = None, {}
for name in names:
    segment(name, "whole")
    n_whole, n_saved = n_saved, 0
    segment(name, "killed", resume=True)
    counts[name], n_saved = (n_whole, n_saved), 0
print(json.dumps(counts))
"""


def test_every_segmenter_resumes_in_another_process(tmp_path):
    """A process is killed after three tiles; another, with the segmenter from a file, goes on."""
    pytest.importorskip("torch")
    names = [*(name for name, _ in all_estimators("segmenter")), "shipped"]
    for code in (_KILL, _RESUME):
        start = f"import sys; sys.argv[1:] = {[str(tmp_path), *names]!r}\n" + _START
        process = run_python(start + code, OMP_NUM_THREADS="1")
        output, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    for name, (n_whole, n_resumed) in json.loads(output).items():
        assert n_resumed == n_whole - 3, name
        killed, whole = (tmp_path / f"{name}-{end}.fits" for end in ("killed", "whole"))
        assert killed.read_bytes() == whole.read_bytes(), name


@pytest.mark.skipif(os.name == "nt", reason="other signals")
@pytest.mark.parametrize("to_file", [True, False])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_main_process(tmp_path, number, to_file):
    output = str(tmp_path / "labels.fits") if to_file else None
    code = (
        "import test_processes as t, numpy as np\n"
        f"segmenter = t.Sleeping(folder={str(tmp_path)!r})\n"
        f"t.segment_mosaic(segmenter, np.zeros((100, 100)), output={output!r}, n_jobs=2,"
        " **t.OPTIONS)"
    )
    (tmp_path / "temporary").mkdir()
    process = run_python(code, TMPDIR=str(tmp_path / "temporary"))
    give_up = time.time() + 250
    while len(workers := [int(path.stem) for path in tmp_path.glob("*.pid")]) < 2:
        assert time.time() < give_up and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(60)
    end = time.time() + 30
    while any(map(is_alive, workers)) and time.time() < end:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
    process.communicate()  # what the workers wrote
    assert not list(tmp_path.glob("*.fits"))
    end = time.time() + 60
    while list((tmp_path / "temporary").glob("galaxysegment-*")) and time.time() < end:
        time.sleep(0.1)
    assert not list((tmp_path / "temporary").glob("galaxysegment-*"))


_SLOW = """
import os, sys, time
from pathlib import Path

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "galaxysegment.mosaic" and any("loky" in part for part in sys.orig_argv):
            Path(__file__).with_name(f"{os.getpid()}.pid").touch()
            time.sleep(60)

sys.meta_path.insert(0, Slow())
"""


@pytest.mark.skipif(os.name == "nt", reason="other signals")
def test_workers_that_still_import_end_with_the_main_process(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(_SLOW)
    code = (
        "import test_processes as t, numpy as np\n"
        "t.segment_mosaic(t.Sleeping(folder=''), np.eye(100), n_jobs=2, **t.OPTIONS)"
    )
    process = run_python(code, first=tmp_path)
    give_up = time.time() + 250
    while len(workers := [int(path.stem) for path in tmp_path.glob("*.pid")]) < 2:
        assert time.time() < give_up and process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.terminate()
    process.wait(60)
    end = time.time() + 30
    while any(map(is_alive, workers)) and time.time() < end:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
    process.communicate()


_SCRIPT = """
import numpy as np
from galaxysegment.base import BaseSegmenter, Statistic
from galaxysegment.mosaic import segment_mosaic

class Highest(Statistic):
    def measure(self, rows, y0, shape):
        return rows.max()

    def combine(self, parts, shape):
        return max(parts)

class Peaks(BaseSegmenter):
    _requires_fit = False
    reach = 1

    def statistics_needed(self):
        return {"highest": Highest()} if self._statistics is None else {}

    def _segment_image(self, image):
        return (image[0] == self._statistics["highest"]).astype(np.int32)

image = np.zeros((60, 70))
image[31, 47] = 1
labels = segment_mosaic(Peaks(), image, tile_size=25, overlap=16, n_jobs=2, progress=False)
print(np.argwhere(labels).tolist())
"""


def test_a_segmenter_of_a_script_brings_its_statistics_to_workers():
    """Workers cannot import what a script or a notebook defines: it travels with the task."""
    process = run_python(_SCRIPT)
    output, error = process.communicate(timeout=250)
    assert output == "[[31, 47]]\n", error


_ORPHAN = """
import multiprocessing, os, signal, time
from pathlib import Path
from galaxysegment.mosaic._work import SharedJob, _load

def work(job):
    parent = os.getppid()
    print(os.getpid(), flush=True)
    while os.getppid() == parent:
        time.sleep(0.05)
    _load(job)
    time.sleep(60)  # the first tile

if __name__ == "__main__":
    job = SharedJob(None, None).store(Path(__file__).parent / "job")
    worker = multiprocessing.get_context("spawn").Process(target=work, args=(job,))
    worker.start()
    time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="other signals")
def test_a_worker_ends_if_the_main_process_is_gone_before_its_first_task(tmp_path):
    (tmp_path / "orphan.py").write_text(_ORPHAN)
    process = run_python(
        f"import runpy; runpy.run_path({str(tmp_path / 'orphan.py')!r}, run_name='__main__')"
    )
    worker = int(process.stdout.readline())
    process.kill()
    process.wait(60)
    end = time.time() + 30
    while is_alive(worker) and time.time() < end:
        time.sleep(0.05)
    assert not is_alive(worker)
    process.communicate()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_process_that_is_killed_beside_does_not_stop_a_mosaic():
    """Forked processes share a lock of tqdm, which nobody returns if its owner is killed."""
    code = (
        "import os, threading, test_processes as t, numpy as np\n"
        "from tqdm import tqdm\n"
        "lock = tqdm.get_lock()\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    lock.acquire()\n"
        "    os.kill(os.getpid(), 9)\n"
        "os.waitpid(pid, 0)\n"
        "segmenter = t.PhotutilsSegmenter(n_pixels=3, bridge=0)\n"
        "options = {**t.OPTIONS, 'progress': True}\n"
        "t.segment_mosaic(segmenter, np.eye(60), **options)\n"
        "print('done', threading.active_count())"
    )
    assert run_python(code).communicate(timeout=250)[0] == "done 1\n"


def test_errors_of_tiles_are_reported_without_docstrings():
    code = (
        "import test_processes as t, numpy as np\n"
        "assert False and 'only without -O'\n"
        "t.segment_mosaic(t.Failing(), np.ones((60, 60)), **t.OPTIONS)"
    )
    process = run_python(code, "-OO")
    error = process.communicate(timeout=250)[1]
    assert (
        "TileError: Segmenting a tile (tile 0, rows 0:20, columns 0:20) failed: ValueError" in error
    )


def state_of_the_process():
    threads = [(library["filepath"], library["num_threads"]) for library in threadpool_info()]
    return threads, list(warnings.filters), warnings.showwarning


def test_threads_leave_the_process_as_it_was():
    """BLAS keeps its threads, and the warning filters are as before, after errors too."""
    image = np.random.default_rng(0).normal(size=(120, 150))
    image[50:60, 20:130] += 20
    segmenter = PhotutilsSegmenter(n_sigma=3, n_pixels=3, bridge=0)
    expected = segment_mosaic(segmenter, image, **OPTIONS)
    with threadpool_limits(2):
        before = state_of_the_process()
        with joblib.parallel_config("threading", n_jobs=4):
            labels = segment_mosaic(segmenter, image, **OPTIONS)
        assert state_of_the_process() == before
        for _ in range(3):
            with (
                joblib.parallel_config("threading", n_jobs=4),
                pytest.raises(TileError, match="this tile is bad"),
            ):
                segment_mosaic(Failing(), image, **OPTIONS)
        deadline = time.monotonic() + 30  # threads that were at work finish
        while state_of_the_process() != before and time.monotonic() < deadline:
            time.sleep(0.1)
        assert state_of_the_process() == before
    np.testing.assert_array_equal(labels, expected)


def test_blas_has_no_threads_of_its_own_meanwhile():
    code = (
        "import numpy\n"
        "from threadpoolctl import threadpool_info\n"
        "from galaxysegment.mosaic._work import Scheduler\n"
        "def counts():\n"
        "    return [b['num_threads'] for b in threadpool_info() if b['user_api'] == 'blas']\n"
        "print(counts())\n"
        "for n_jobs in (1, 2):\n"
        "    with Scheduler(n_jobs, False, in_threads=True):\n"
        "        print(counts())\n"
        "    print(counts())\n"
        "with Scheduler(1, False):\n"  # of a net, which may need them
        "    print(counts())"
    )
    printed, errors = run_python(code, OPENBLAS_NUM_THREADS="2").communicate(timeout=250)
    before, *others = printed.split("\n")[:-1]
    assert errors == "" and "1" not in before
    inside = before.replace("2", "1")
    assert others == [inside, before, inside, before, before]


def test_the_thread_that_leaves_last_gives_blas_its_threads_back():
    """threadpoolctl lets only the first thread that asks change the threads of BLAS."""
    code = (
        "import numpy, threading, time\n"
        "from threadpoolctl import threadpool_info\n"
        "from galaxysegment.mosaic._work import _one_thread\n"
        "def counts():\n"
        "    return [b['num_threads'] for b in threadpool_info() if b['user_api'] == 'blas']\n"
        "def work(own, other):\n"
        "    with _one_thread():\n"
        "        inside.append(counts())\n"
        "        own.set()\n"
        "        other.wait()\n"
        "before, inside = counts(), []\n"
        "for _ in range(3):\n"
        "    events = [threading.Event() for _ in range(3)]\n"
        "    first = threading.Thread(target=work, args=events[:2])\n"
        "    second = threading.Thread(target=work, args=events[1:])\n"
        "    first.start()\n"
        "    events[0].wait()\n"
        "    second.start()\n"
        "    first.join()\n"
        "    events[2].set()\n"
        "    second.join()\n"
        "assert counts() == before, (before, counts())\n"
        "assert all(count == 1 for counts in inside for count in counts)\n"
        "print('as before', threading.active_count())"
    )
    process = run_python(code, OPENBLAS_NUM_THREADS="2")
    assert process.communicate(timeout=250) == ("as before 1\n", "")


def test_workers_follow_into_another_folder(tmp_path, monkeypatch):
    """A path is relative to the current folder of the call, also for workers of an earlier call."""
    from astropy.io import fits

    image = np.random.default_rng(0).normal(size=(60, 70)).astype(np.float32)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        image = image + 0
        image[20:30, 10 : 30 if name == "first" else 50] += 50
        fits.writeto(tmp_path / name / "image.fits", image)
        monkeypatch.chdir(tmp_path / name)
        segmenter = PhotutilsSegmenter(n_pixels=5, bridge=0)
        with joblib.parallel_config("loky"):
            in_workers = segment_mosaic(segmenter, "image.fits", n_jobs=2, **OPTIONS)
        alone = segment_mosaic(segmenter, "image.fits", **OPTIONS)
        np.testing.assert_array_equal(in_workers, alone)
        (tmp_path / name / "image.fits").unlink()

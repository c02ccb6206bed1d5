"""The page on clusters, tried on this machine: real schedulers, workers in folders of their own."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from contextlib import contextmanager, suppress
from pathlib import Path

import joblib
import pytest

import galaxysegment
from galaxysegment import PhotutilsSegmenter
from galaxysegment.datasets import load_sample_field
from galaxysegment.mosaic import segment_mosaic

ROOT = Path(galaxysegment.__file__).parents[1]
PAGE = ROOT / "docs" / "guide" / "clusters.rst"
distributed = pytest.importorskip("distributed", reason="dask is not installed")
pytestmark = [
    pytest.mark.skipif(not PAGE.is_file(), reason="the documentation is in the source tree only"),
    pytest.mark.skipif(os.name == "nt", reason="Slurm and its scripts run on Unix"),
]
OPTIONS = {"rms": True, "tile_size": 256, "progress": False}


def snippet(caption):
    """The code under a caption of the page."""
    page = PAGE.read_text(encoding="utf-8")
    block = re.search(rf":caption: {re.escape(caption)}\n\n((?:(?: {{4}}.*)?\n)+)", page)[1]
    return textwrap.dedent(block)


@pytest.fixture
def folder(tmp_path):
    """A folder with an image, and the map that one process makes of it."""
    load_sample_field().write(tmp_path / "field.fits")
    segmenter = PhotutilsSegmenter(deblend=True, rms_band=-1)
    segment_mosaic(segmenter, tmp_path / "field.fits", output=tmp_path / "alone.fits", **OPTIONS)
    return tmp_path


@pytest.fixture
def environment(tmp_path):
    """Variables of a shell that knows ``dask``, ``python`` and ``srun``."""
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = {
        "dask": f'exec {sys.executable} -W ignore -m dask "$@"',
        "python": f'exec {sys.executable} -W ignore "$@"',
        # as many processes as tasks, each in a folder of its own
        "srun": 'n=${1#--ntasks=}; shift\nfor task in $(seq "$n"); do\n'
        '  mkdir -p "$SRUN_FOLDER/$task"; (cd "$SRUN_FOLDER/$task"; exec "$@") &\ndone; wait',
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        (programs / name).chmod(stat.S_IRWXU)
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SRUN_FOLDER": str(tmp_path / "tasks"),
        "TMPDIR": str(tmp_path),
        "DASK_LOGGING__DISTRIBUTED": "error",
    }


@contextmanager
def group_of(command, **options):
    """Run a command in a process group of its own, and end the whole group afterwards."""
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=250)


def test_the_slurm_job_gives_the_map_of_one_process(folder, environment):
    for name in ("segment.py", "job.sh"):
        (folder / name).write_text(snippet(name), encoding="utf-8")
    variables = {"SLURM_SUBMIT_DIR": str(folder), "SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    command = ["bash", str(folder / "job.sh")]
    with group_of(command, cwd=elsewhere, env={**environment, **variables}) as job:
        said = job.communicate(timeout=250)[0].decode()
    assert job.returncode == 0, said
    assert (folder / "labels.fits").read_bytes() == (folder / "alone.fits").read_bytes()
    assert len(list((folder / "tasks").iterdir())) == 2
    with group_of(command, cwd=elsewhere, env={**environment, **variables}) as job:
        job.wait(timeout=250)  # the map exists: the script fails, and the job ends
    assert job.returncode == 1


def test_the_commands_for_kubernetes_make_a_cluster(folder, environment):
    yaml = pytest.importorskip("yaml", reason="it comes with dask")
    service, *deployments = yaml.safe_load_all(snippet("dask.yaml"))
    assert service["metadata"]["name"] == "scheduler"
    templates = {item["metadata"]["name"]: item["spec"]["template"] for item in deployments}
    for item in deployments:
        labels = item["spec"]["selector"]["matchLabels"]
        assert labels == item["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == templates["scheduler"]["metadata"]["labels"]
    commands = {
        name: template["spec"]["containers"][0]["command"] for name, template in templates.items()
    }
    port = str(service["spec"]["ports"][0]["port"])
    assert port in commands["scheduler"]
    assert f"tcp://scheduler:{port}" in commands["worker"]

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        here = str(free.getsockname()[1])
    places = {port: here, f"tcp://scheduler:{port}": f"tcp://127.0.0.1:{here}"}
    commands = {
        name: [places.get(word, word) for word in command] for name, command in commands.items()
    }
    for name in ("first", "second"):
        (folder / name).mkdir()
    with (
        group_of([*commands["scheduler"], "--host", "127.0.0.1"], cwd=folder, env=environment),
        group_of(commands["worker"], cwd=folder / "first", env=environment),
        group_of(commands["worker"], cwd=folder / "second", env=environment),
        distributed.Client(f"tcp://127.0.0.1:{here}", timeout=250) as client,
        joblib.parallel_config("dask"),
    ):
        client.wait_for_workers(2, timeout=250)
        output = segment_mosaic(
            PhotutilsSegmenter(deblend=True, rms_band=-1),
            folder / "field.fits",
            output=folder / "labels.fits",
            **OPTIONS,
        )
        folders = client.run(os.getcwd).values()
    assert output.read_bytes() == (folder / "alone.fits").read_bytes()
    assert {Path(path).name for path in folders} == {"first", "second"}

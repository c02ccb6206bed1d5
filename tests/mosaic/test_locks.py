"""The lock of a work folder on all kinds of systems, and records that cannot be written."""

import errno
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from galaxysegment import PhotutilsSegmenter
from galaxysegment.mosaic import _store, segment_mosaic
from galaxysegment.mosaic._run import Memory
from galaxysegment.mosaic._store import WorkFolder

fcntl = pytest.importorskip("fcntl")
RECORD = {"pixels": np.arange(30)}


def claimed(path=None):
    folder = WorkFolder(path)
    folder.claim()
    return folder


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "work" / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock") as caught:
        claimed(tmp_path / "work")
    assert caught.value.errno == errno.ELOOP
    (tmp_path / "work" / "lock").unlink()
    (tmp_path / "work" / "lock").symlink_to(tmp_path / "new")
    with pytest.raises(OSError, match="lock"):
        claimed(tmp_path / "work")
    assert not (tmp_path / "new").exists()


def test_others_may_work_in_the_folder_as_far_as_the_mask_of_the_process_allows(tmp_path):
    before = os.umask(0o022)
    try:
        folder = claimed(tmp_path / "work")
        assert stat.S_IMODE((folder.path / "lock").stat().st_mode) == 0o644
    finally:
        os.umask(before)
    folder.close(keep=False)
    assert not folder.path.exists()


@pytest.mark.parametrize("system", ["windows", "network"])
def test_systems_without_locks_work_without_them(tmp_path, monkeypatch, system):
    if system == "windows":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:

        def fail(lock, operation):
            assert operation == fcntl.LOCK_EX | fcntl.LOCK_NB
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", fail)
    folder = claimed(tmp_path / "work")
    assert folder._lock is None and folder.is_own()
    folder.start({"level": 1}, resume=False)
    folder.save("tile", 0, RECORD)
    again = claimed(tmp_path / "work")
    again.start({"level": 1}, resume=True)
    assert again.is_done("tile", 0)
    again.close(keep=True)
    assert again.path.exists()
    again.close(keep=False)
    assert not again.path.exists()


def test_a_folder_that_vanishes_at_every_try_is_given_up(tmp_path, monkeypatch):
    tries = []

    def vanish(path):
        tries.append(path)
        raise FileNotFoundError

    monkeypatch.setattr(_store, "_open_lock", vanish)
    with pytest.raises(RuntimeError, match="Another process is writing the same output"):
        claimed(tmp_path / "work")
    assert 100 <= len(tries) <= 10_000


def test_a_temporary_folder_never_stays(tmp_path, monkeypatch):
    tracked = []
    monkeypatch.setattr(_store.tempfile, "tempdir", str(tmp_path))
    for name in ("register", "unregister"):
        monkeypatch.setattr(
            _store.resource_tracker, name, lambda *what, name=name: tracked.append((name, *what))
        )
    folder = claimed()
    assert folder.path.parent == tmp_path and folder.path.name.startswith("galaxysegment-")
    folder.start({"level": 1}, resume=False)
    folder.save("tile", 0, RECORD)
    folder.close(keep=True)
    assert not list(tmp_path.iterdir())
    path = str(folder.path)
    assert tracked == [("register", path, "folder"), ("unregister", path, "folder")]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("has_run", [True, False])
def test_work_is_kept_if_it_can_be_resumed(tmp_path, keep, has_run):
    folder = claimed(tmp_path / "work")
    if has_run:
        folder.start({"level": 1}, resume=False)
    folder.close(keep=keep)
    assert folder.path.exists() == (keep and has_run)
    claimed(tmp_path / "work").close(keep=False)  # the lock was given back


def test_a_record_that_cannot_be_written_leaves_no_draft(tmp_path, monkeypatch):
    folder = claimed(tmp_path / "work")
    folder.start({"level": 1}, resume=False)

    def fail(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            folder.save("tile", 0, RECORD)
    assert sorted(path.name for path in folder.path.iterdir()) == ["lock", "run.json"]
    assert not folder.is_done("tile", 0)
    folder.save("tile", 0, RECORD)
    (name,) = (path.name for path in folder.path.glob("*.record"))
    assert name.startswith("tile000000-") and folder.is_done("tile", 0)


def test_folders_and_links_in_the_work_folder_are_cleared(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("precious")
    folder = claimed(tmp_path / "work")
    folder.start({"level": 1}, resume=False)
    (folder.path / "deep" / "deeper").mkdir(parents=True)
    (folder.path / "deep" / "deeper" / "file").write_text("left")
    (folder.path / "link").symlink_to(tmp_path / "elsewhere")
    folder.close(keep=False)
    assert not folder.path.exists()
    assert (tmp_path / "elsewhere" / "precious").read_text() == "precious"


def test_memory_keeps_the_records_of_one_process():
    memory = Memory()
    memory.claim()
    memory.start({"level": 1}, resume=True)
    memory.save("tile", 1, RECORD | {"values": 3})
    assert memory.load("tile", 1, ("values",)) == {"values": 3}
    assert memory.load("tile", 1, ("pixels",))["pixels"] is RECORD["pixels"]
    assert memory.is_own() and memory.path is None
    with pytest.raises(KeyError):
        memory.load("blend", 1, ("values",))
    memory.close(keep=False)


def test_steps_of_a_pipeline_that_do_nothing_are_left_out():
    from sklearn.pipeline import Pipeline

    image = np.random.default_rng(0).normal(size=(60, 70))
    image[20:30, 15:50] += 20
    segmenter = PhotutilsSegmenter(n_pixels=3)
    steps = [("nothing", "passthrough"), ("none", None), ("segment", segmenter)]
    labels = segment_mosaic(Pipeline(steps), image, tile_size=40, progress=False)
    np.testing.assert_array_equal(labels, segmenter.predict(image[None])[0])

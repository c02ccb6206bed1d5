"""The folder of unfinished work: whole records of this run only, and one owner at a time."""

import contextlib
import json
import multiprocessing
import os
import shutil
import time
from collections import Counter
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from galaxysegment.base import BaseSegmenter
from galaxysegment.io import read_label_map
from galaxysegment.mosaic import TileError, _run, _store, segment_mosaic
from galaxysegment.mosaic._store import RecordError, WorkFolder
from galaxysegment.structures import label_components

RECORD = {"pixels": np.arange(300), "values": np.ones(300, dtype=np.int32)}
OPTIONS = {"tile_size": 20, "overlap": 8, "progress": False}


class Threshold(BaseSegmenter):
    """Pixels above a level; something happens at the fifth tile."""

    _requires_fit = False
    splits_blends = False
    reach = 1
    event = None
    calls = 0

    def __init__(self, *, level=1.0):
        self.level = level

    def _segment_image(self, image):
        Threshold.calls += 1
        if Threshold.calls == 5 and Threshold.event is not None:
            Threshold.event()
        return label_components(image[0] > self.level)


@pytest.fixture
def event(monkeypatch):
    """Set what happens at the fifth tile."""
    monkeypatch.setattr(Threshold, "calls", 0)
    return lambda function: monkeypatch.setattr(Threshold, "event", staticmethod(function))


@pytest.fixture
def image():
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(60, 70)), 2)
    return (noise / noise.std()).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "work", {"level": 1})


def make(path, about, *, resume=False):
    folder = WorkFolder(path)
    folder.claim()
    folder.start(about, resume=resume)
    return folder


def again(folder, about=None, *, resume=True):
    """Let go of a folder as if its process had died, and take it anew."""
    folder._let_go()
    return make(folder.path, about or {"level": 1}, resume=resume)


def record_of(folder):
    return next(folder.path.glob("tile*.record"))


def test_a_record_comes_back_and_survives_its_process(folder):
    folder.save("tile", 3, RECORD)
    assert folder.is_done("tile", 3) and not folder.is_done("tile", 4)
    loaded = again(folder).load("tile", 3, ("pixels", "values"))
    for name, array in RECORD.items():
        np.testing.assert_array_equal(loaded[name], array)
    assert not list(folder.path.glob("*.part"))


def test_no_damaged_record_is_used(folder):
    folder.save("tile", 0, RECORD)
    path = record_of(folder)
    content = path.read_bytes()
    damaged = [b"", content[:10], content[:-1], content + b"\0", content[:60]]
    for place in range(0, len(content), 97):
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        damaged.append(flipped)
    for version in damaged:
        path.write_bytes(version)
        assert not folder.is_done("tile", 0)
        with pytest.raises(RecordError, match="is damaged"):
            folder.load("tile", 0, ("pixels",))
    path.write_bytes(content)
    assert folder.is_done("tile", 0)


def test_no_record_of_another_tile_or_run_is_used(folder, tmp_path):
    folder.save("tile", 0, RECORD)
    other = make(tmp_path / "other", {"level": 2})
    other.save("tile", 0, RECORD)
    shutil.copy(record_of(other), record_of(folder))
    assert not folder.is_done("tile", 0)
    folder.save("tile", 0, RECORD)
    record_of(folder).rename(folder._file("tile", 1))
    assert not folder.is_done("tile", 1)


@pytest.mark.parametrize("n_deleted", range(6))
def test_an_interrupted_start_leaves_no_record_for_a_run_with_other_parameters(
    folder, monkeypatch, n_deleted
):
    """The start is killed after any number of files that it deletes."""
    for index in range(4):
        folder.save("tile", index, RECORD)
    unlink, deleted = Path.unlink, []

    def unlink_until_killed(path, missing_ok=False):
        if len(deleted) == n_deleted:
            raise KeyboardInterrupt
        deleted.append(path)
        unlink(path, missing_ok=missing_ok)

    folder._let_go()
    killed = WorkFolder(folder.path)
    killed.claim()
    monkeypatch.setattr(Path, "unlink", unlink_until_killed)
    with contextlib.suppress(KeyboardInterrupt):
        killed.start({"level": 2}, resume=False)
    monkeypatch.undo()
    was_killed = n_deleted < 5
    if was_killed:
        killed._let_go()
        killed = WorkFolder(folder.path)
        killed.claim()
        with pytest.raises(ValueError, match="another level"):
            killed.start({"level": 2}, resume=True)
        killed.start({"level": 1}, resume=True)
        assert sum(killed.is_done("tile", index) for index in range(4)) == 4 - n_deleted
        return
    resumed = again(killed, {"level": 2})
    assert not any(resumed.is_done("tile", index) for index in range(4))


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"level": 1}', "\xff"])
def test_records_that_nobody_can_tell_whose_they_are_are_discarded(folder, content):
    folder.save("tile", 0, RECORD)
    (folder.path / "run.json").write_text(content)
    assert not again(folder).is_done("tile", 0)
    assert json.loads((folder.path / "run.json").read_text())["level"] == 1


def test_what_a_killed_run_left_besides_its_records_is_deleted(folder):
    folder.save("tile", 0, RECORD)
    for name in ("tile000001.record.12.part", "job-1.pickle", "labels-1.fits", "image.npy"):
        (folder.path / name).write_text("left")
    assert again(folder).is_done("tile", 0)
    names = [path.name for path in folder.path.iterdir()]
    assert sorted(names) == ["lock", "run.json", record_of(folder).name]


@pytest.mark.parametrize("is_link", [True, False])
def test_links_and_files_in_its_place_are_refused(tmp_path, image, is_link):
    output, there = tmp_path / "labels.fits", tmp_path / "elsewhere"
    there.mkdir()
    (there / "precious").write_text("precious")
    work = _run.work_path(output)
    work.symlink_to(there) if is_link else work.write_text("precious")
    with pytest.raises(NotADirectoryError, match=r"delete it, or choose another output"):
        segment_mosaic(Threshold(), image, output=output, **OPTIONS)
    assert [path.name for path in there.iterdir()] == ["precious"]


def test_a_lock_of_a_folder_that_was_deleted_meanwhile_is_not_enough(folder, monkeypatch):
    """The owner finishes after another process opened the lock, and before that one took it."""
    other, take = WorkFolder(folder.path), _store._take_lock

    def take_after_the_owner_has_gone(lock):
        monkeypatch.undo()
        folder.close(keep=False)
        assert not folder.path.exists()
        return take(lock)

    monkeypatch.setattr(_store, "_take_lock", take_after_the_owner_has_gone)
    other.claim()
    assert other.is_own()
    with pytest.raises(RuntimeError, match="Another process is writing the same output"):
        WorkFolder(folder.path).claim()


def test_the_owner_does_not_delete_the_folder_of_the_next(folder):
    folder.save("tile", 0, RECORD)
    shutil.rmtree(folder.path)
    following = make(folder.path, {"level": 2})
    following.save("tile", 0, RECORD)
    assert following.is_own() and not folder.is_own()
    folder.close(keep=False)
    assert following.is_done("tile", 0)


def segment_often(image, output, outcomes, expected):
    """Write one output until it has worked 30 times; count what happens, wrong files included."""
    few_tiles, n_written = {**OPTIONS, "tile_size": 60}, 0
    while n_written < 30:
        try:
            segment_mosaic(Threshold(), image, output=output, overwrite=True, **few_tiles)
            outcome, n_written = "written", n_written + 1
        except Exception as error:  # whatever it is, the test looks at it
            outcome = f"{type(error).__name__}: {str(error)[:20]}"
            time.sleep(0.001)
        outcomes.put(outcome)
        if output.exists() and output.read_bytes() != expected:
            outcomes.put("wrong file")
    outcomes.put(None)


@pytest.mark.parametrize("n_processes", [2, 4])
def test_several_processes_write_one_output(tmp_path, image, n_processes):
    """At any moment one of them works; the others are told so. The file is always whole."""
    output, expected = tmp_path / "labels.fits", tmp_path / "expected.fits"
    segment_mosaic(Threshold(), image, output=expected, **OPTIONS)
    context, counts = multiprocessing.get_context("fork"), Counter()
    outcomes = context.Queue()
    arguments = image, output, outcomes, expected.read_bytes()
    workers = [context.Process(target=segment_often, args=arguments) for _ in range(n_processes)]
    for worker in workers:
        worker.start()
    while counts[None] < n_processes:
        counts[outcomes.get(timeout=250)] += 1
    for worker in workers:
        worker.join(250)
    assert set(counts) == {None, "written", "RuntimeError: Another process is w"}
    assert counts["written"] == 30 * n_processes
    assert not _run.work_path(output).exists()


def test_a_finished_output_is_not_replaced_by_one_who_waited(tmp_path, image, monkeypatch):
    """Another process finishes between the check of the arguments and the claim of the folder."""
    output, claim = tmp_path / "labels.fits", WorkFolder.claim

    def claim_after_another_has_finished(folder):
        output.write_text("of the other process")
        claim(folder)

    monkeypatch.setattr(WorkFolder, "claim", claim_after_another_has_finished)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        segment_mosaic(Threshold(), image, output=output, **OPTIONS)
    assert output.read_text() == "of the other process"
    assert not _run.work_path(output).exists()


def test_an_output_that_appears_during_the_run_is_not_replaced(tmp_path, image, event):
    output = tmp_path / "labels.fits"
    event(lambda: output.write_text("of somebody else"))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        segment_mosaic(Threshold(), image, output=output, **OPTIONS)
    assert output.read_text() == "of somebody else"
    segment_mosaic(Threshold(), image, output=output, resume=True, overwrite=True, **OPTIONS)
    np.testing.assert_array_equal(read_label_map(output), label_components(image > 1))


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_folder_that_is_deleted_during_the_run_is_an_error(tmp_path, image, event, is_taken):
    output = tmp_path / "labels.fits"
    work = _run.work_path(output)
    following = []

    def delete():
        shutil.rmtree(work)
        if is_taken:
            following.append(make(work, {"level": 2}))

    event(delete)
    with pytest.raises(TileError, match=r"(is gone|taken over).*not touched"):
        segment_mosaic(Threshold(), image, output=output, **OPTIONS)
    assert not output.exists()
    assert work.exists() == is_taken
    if is_taken:
        assert following[0].is_own()


@pytest.mark.parametrize("to_file", [True, False])
def test_an_image_that_is_replaced_during_the_run_is_an_error(tmp_path, image, event, to_file):
    """The new file has the same size and time of change."""
    from astropy.io import fits

    path, output = tmp_path / "image.fits", tmp_path / "labels.fits" if to_file else None
    fits.PrimaryHDU(image).writeto(path)
    status = path.stat()

    def replace():
        fits.PrimaryHDU(image + 1).writeto(path, overwrite=True)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    event(replace)
    with pytest.raises(TileError, match="was changed while it was segmented"):
        segment_mosaic(Threshold(), path, output=output, **OPTIONS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.fits"]
    np.testing.assert_array_equal(
        segment_mosaic(Threshold(), path, output=None, **OPTIONS), label_components(image + 1 > 1)
    )


def test_an_array_that_is_changed_during_the_run_is_an_error(tmp_path, image, event):
    event(lambda: image.__iadd__(1))
    with pytest.raises(TileError, match="was changed while it was segmented"):
        segment_mosaic(Threshold(), image, output=tmp_path / "labels.fits", **OPTIONS)


def test_versions_are_those_of_the_installed_packages():
    assert _run._version_of("no-such-package") is None
    for name in ("numpy", "scipy", "scikit-learn", "astropy", "pytest"):
        assert _run._version_of(name) == metadata.version(name)


def test_another_version_of_a_package_is_another_run(tmp_path, image, event, monkeypatch):
    output = tmp_path / "labels.fits"

    def fail():
        raise ValueError("this tile is bad")

    event(fail)
    with pytest.raises(TileError, match="this tile is bad"):
        segment_mosaic(Threshold(), image, output=output, **OPTIONS)
    own = _run._version_of
    monkeypatch.setattr(_run, "_version_of", lambda name: own(name) if name != "sep" else "0")
    with pytest.raises(ValueError, match="had another version of sep"):
        segment_mosaic(Threshold(), image, output=output, resume=True, **OPTIONS)
    about = json.loads((_run.work_path(output) / "run.json").read_text())
    names = {"format", *(f"version of {name}" for name in ("galaxysegment", "numpy", "sep"))}
    packages = ("scipy", "scikit-learn", "astropy", "photutils", "torch", "torchvision")
    packages += ("transformers",)
    assert names | {f"version of {name}" for name in packages} <= set(about)

"""No output is written over an input, by whatever path it is given."""

import os

import numpy as np
import pytest

from galaxysegment._utils.paths import check_paths, is_same_file


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.fits"
    path.write_text("precious")
    return path


def test_paths_to_one_file_are_the_same(image, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.fits").symlink_to(image)
    os.link(image, tmp_path / "hard.fits")
    (tmp_path / "other").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for other in (
        "image.fits",
        tmp_path / "folder" / ".." / "image.fits",
        "link.fits",
        "hard.fits",
        "other/image.fits",
    ):
        assert is_same_file(image, other)
        with pytest.raises(ValueError, match=r"output \(.*\) is the same file as image"):
            check_paths({"image": [tmp_path / "else.fits", str(image)]}, {"output": other})


def test_files_to_come_are_compared_by_where_they_will_be(tmp_path):
    (tmp_path / "other").symlink_to(tmp_path)
    (tmp_path / "dangling.fits").symlink_to(tmp_path / "new.fits")
    for other in ("other/new.fits", "dangling.fits"):
        with pytest.raises(
            ValueError, match=r"--catalog .* as --output .*: give each its own path"
        ):
            check_paths({}, {"--output": tmp_path / "new.fits", "--catalog": tmp_path / other})


def test_other_files_arrays_and_none_pass(image, tmp_path):
    (tmp_path / "copy.fits").write_text("precious")
    inputs = {"image": image, "rms": None, "labels": np.zeros(3), "mask": [tmp_path / "mask.fits"]}
    check_paths(inputs, {"output": tmp_path / "copy.fits", "catalog": None})

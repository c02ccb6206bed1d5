"""Cut-outs of fields: sources move with their pixels; bits of masks are added up."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment import Instances
from galaxysegment.io import Field, _pixels, read_field
from galaxysegment.io._hdus import find_image, scan
from galaxysegment.io._mask import check_bits
from galaxysegment.io._pixels import read_floats


@pytest.mark.parametrize(
    ("rows", "columns"), [((3, 20), (5, 30)), ((0, 9), (7, 8)), ((11, 24), (0, 40))]
)
def test_instances_of_a_section_are_those_of_its_label_map(rows, columns):
    rng = np.random.default_rng(0)
    labels = np.kron(rng.permutation(60).reshape(6, 10), np.ones((4, 4), dtype=int))
    field = Field(rng.normal(size=labels.shape), instances=Instances.from_label_map(labels))
    section = field.section(slice(*rows), slice(*columns))
    window = labels[slice(*rows), slice(*columns)]
    expected = {(window == label).tobytes() for label in np.unique(window) if label}
    assert section.instances.shape == window.shape
    assert {mask.tobytes() for mask in section.instances.masks} == expected


@pytest.mark.parametrize(
    ("bits", "total"), [(4, 4), ([1, 4096], 4097), ((1, 1), 1), (~4, ~4), (None, None), ([], None)]
)
def test_bits_are_added_up(bits, total):
    assert check_bits(bits) == total


@pytest.mark.parametrize("bits", [0, [4, 0], True, 1.0, "4", 2**63, -(2**63) - 1])
def test_bits_that_mask_nothing_are_refused(bits):
    with pytest.raises(ValueError, match="mask_bits must be a whole number"):
        check_bits(bits)


@pytest.mark.parametrize("bits", [2**63 - 1, -(2**63)])
def test_all_64_bits_may_be_asked_for(bits):
    assert check_bits(bits) == bits


WINDOWS = [(slice(0, 12), slice(0, 17)), (slice(3, 9), slice(0, 17)), (slice(2, 12), slice(5, 6))]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("dtype", ["u1", ">i2", ">i4", ">f4", ">f8"])
@pytest.mark.parametrize("at_once", [7, 1 << 20])
@pytest.mark.parametrize("n_bytes", [1, 150, 1 << 20])
def test_windows_of_cubes_are_read_whatever_a_system_reads_at_once(
    tmp_path, monkeypatch, window, dtype, at_once, n_bytes
):
    monkeypatch.setattr("galaxysegment.io._pixels._PIECE", n_bytes)
    cube = np.random.default_rng(0).integers(0, 100, (3, 12, 17)).astype(dtype)
    fits.writeto(tmp_path / "cube.fits", cube)
    hdu = find_image(tmp_path / "cube.fits", None, list(scan(tmp_path / "cube.fits")))

    class SlowFile(io.FileIO):
        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:at_once])

    monkeypatch.setattr(Path, "open", lambda path, mode, **_: SlowFile(path, mode))
    image = read_floats(hdu, window)
    np.testing.assert_array_equal(image, cube[(..., *window)])
    assert image.dtype.isnative
    assert image.flags.writeable


@pytest.fixture
def compiled(monkeypatch):
    """Windows that are read by the kernel, which small ones are not as a rule."""
    pytest.importorskip("numba")
    read, windows = _pixels._read_compiled, []

    def note(*arguments):
        windows.append(read(*arguments))
        return windows[-1]

    monkeypatch.setattr(_pixels, "_PIECE", 1)
    monkeypatch.setattr(_pixels, "_AT_ONCE", 300)
    monkeypatch.setattr(_pixels, "_read_compiled", note)
    return windows


@pytest.mark.skipif(not hasattr(os, "pread"), reason="the system has no pread")
@pytest.mark.parametrize("window", WINDOWS)
def test_the_kernel_reads_the_same_bytes(tmp_path, monkeypatch, compiled, window):
    path = tmp_path / "cube.fits"
    cube = np.random.default_rng(0).integers(0, 2**32, (3, 12, 17), np.uint32).view(">f4")
    fits.writeto(path, cube)
    hdu = find_image(path, None, list(scan(path)))
    image = read_floats(hdu, window)
    assert compiled == [True] * 3
    monkeypatch.setattr(_pixels, "_read_compiled", lambda *_: False)
    assert image.tobytes() == read_floats(hdu, window).tobytes()
    assert image.tobytes() == cube[(..., *window)].astype(np.float32).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [slice(0, 40), slice(10, 30)])
def test_a_file_that_is_cut_between_check_and_read_is_refused(
    tmp_path, monkeypatch, compiled, columns, dtype
):
    path = tmp_path / "image.fits"
    fits.writeto(path, np.ones((300, 40), dtype=dtype))
    field = read_field(path)
    with path.open("r+b") as file:
        file.truncate(2880 * 2)
    monkeypatch.setattr("galaxysegment.io._pixels.check_complete", lambda _: None)
    with pytest.raises(OSError, match="truncated or damaged"):
        field.section(slice(100, 300), columns).image  # noqa: B018
    assert compiled == [False]

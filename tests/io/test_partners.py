"""Several images in one file: each is read with its own noise map, or the file is refused."""

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.io import read_field

SHAPE = (20, 30)


def write(path, *extensions):
    """Write extensions (name, version, value), each constant."""
    hdus = [fits.PrimaryHDU()]
    for name, version, value in extensions:
        hdus.append(fits.ImageHDU(np.full(SHAPE, value, np.float32), name=name))
        if version is not None:
            hdus[-1].header["EXTVER"] = version
    fits.HDUList(hdus).writeto(path)
    return path


def rms_of(field):
    return np.unique(field.rms).tolist()


def test_two_detectors_in_one_file(tmp_path):
    """SCI and ERR of two detectors, as HST's cameras write them."""
    extensions = [("SCI", 1, 10), ("ERR", 1, 1), ("DQ", 1, 0), ("SCI", 2, 20), ("ERR", 2, 2)]
    path = write(tmp_path / "flt.fits", *extensions)
    assert rms_of(read_field(path)) == [1]
    assert rms_of(read_field(path, hdu=("SCI", 2))) == [2]
    assert rms_of(read_field(path, hdu=4, rms=path)) == [2]


def test_bands_in_one_file(tmp_path):
    names = [("SCI_G", 1), ("SCI_R", 2), ("RMS_R", 0.2), ("RMS_G", 0.1)]
    path = write(tmp_path / "gr.fits", *[(name, None, value) for name, value in names])
    np.testing.assert_allclose(rms_of(read_field(path, hdu="SCI_R")), 0.2)
    field = read_field(path, hdu=["SCI_G", "SCI_R"])
    assert field.image[:, 0, 0].tolist() == [1, 2]
    np.testing.assert_allclose(field.rms[:, 0, 0], [0.1, 0.2])
    named = read_field(path, hdu=[2, 1], rms_hdu=["RMS_R", "RMS_G"])
    np.testing.assert_allclose(named.rms[:, 0, 0], [0.2, 0.1])
    both = read_field(path, hdu=[2, 1], rms=path, rms_hdu=["RMS_R", "RMS_G"])
    np.testing.assert_array_equal(both.rms, named.rms)


def test_a_map_of_one_detector_is_not_used_for_the_other(tmp_path):
    detectors = [("SCI", 1, 10), ("SCI", 2, 20), ("ERR", 2, 2)]
    path = write(tmp_path / "flt.fits", *detectors)
    assert read_field(path).rms is None
    assert rms_of(read_field(path, hdu=("SCI", 2))) == [2]
    bands = [("SCI_G", None, 1), ("SCI_R", None, 2), ("RMS_R", None, 0.5)]
    path = write(tmp_path / "gr.fits", *bands)
    assert read_field(path).rms is None
    assert rms_of(read_field(path, hdu="SCI_R")) == [0.5]
    assert read_field(path, hdu=["SCI_G", "SCI_R"]).rms is None
    shared = [("SCI_G", None, 1), ("SCI_R", None, 2), ("RMS", None, 0.5)]
    path = write(tmp_path / "shared.fits", *shared)
    assert rms_of(read_field(path, hdu="SCI_R")) == [0.5]


def test_detectors_in_a_file_of_images_and_one_of_weights(tmp_path):
    image = write(tmp_path / "image.fits", ("S29", None, 10), ("S30", None, 20))
    weight = write(tmp_path / "map.fits", ("S30", None, 0.25), ("S29", None, 1))
    options = {"rms": weight, "rms_kind": "weight"}
    assert rms_of(read_field(image, hdu="S30", **options)) == [2]
    unnamed = write(tmp_path / "unnamed.fits", ("", None, 1), ("", None, 0.25))
    assert rms_of(read_field(image, hdu=2, **{**options, "rms": unnamed})) == [2]


def test_an_image_is_never_its_own_rms_map(tmp_path):
    path = write(tmp_path / "both.fits", ("", None, 10), ("", None, 3))
    assert rms_of(read_field(path, rms=path, rms_kind="rms")) == [3]
    assert rms_of(read_field(path, hdu=2, rms=path, rms_kind="rms")) == [10]
    alone = write(tmp_path / "alone.fits", ("", None, 10))
    with pytest.raises(
        ValueError, match=r"is the file of the image itself.*no other image.*rms_hdu="
    ):
        read_field(alone, rms=alone)
    three = write(tmp_path / "three.fits", *[("", None, value) for value in (10, 3, 4)])
    with pytest.raises(ValueError, match=r"2 \(no name\): 20 x 30; 3 \(no name\): 20 x 30: pass"):
        read_field(three, rms=three)


def test_messages_name_the_arguments_of_the_function(tmp_path):
    path = write(tmp_path / "both.fits", ("", None, 10), ("", None, 3))
    with pytest.raises(ValueError, match=r"rms_kind='auto' cannot tell.*Pass rms_kind="):
        read_field(path, rms=path, rms_kind="auto")
    with pytest.raises(ValueError, match="rms_kind must be one of"):
        read_field(path, rms=path, rms_kind="sigma")
    with pytest.raises(ValueError, match="rms_hdu lists 2 HDUs for 3 files"):
        read_field([path] * 3, rms_hdu=[1, 2])
    with pytest.raises(ValueError, match="hdu lists 0 HDUs for 1 files"):
        read_field(path, hdu=[])

"""Every real or simulated FITS file of the data folder gives an image or one clear error line."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.io import (
    image_shape,
    read_field,
    read_header,
    read_image,
    read_label_map,
    read_rms,
    write_label_map,
)

FOLDER = Path(os.environ.get("GALAXYSEGMENT_DATA", "missing"))
NAMES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.fits*"))
WITHOUT_IMAGE = {"lsst_deblender_sims/test1_catalog_true.fits"}


@pytest.mark.parametrize("name", NAMES or ["any.fits"])
def test_every_file(data_dir, name):
    path = data_dir / name
    if name.replace(os.sep, "/") in WITHOUT_IMAGE:
        with pytest.raises(
            ValueError, match=r"holds no image .* It has 0 PRIMARY: no data; 1 \(no name\): table"
        ):
            read_image(path)
        return
    image = read_image(path)
    assert image.shape == image_shape(path)
    assert image.dtype in (np.float32, np.float64)
    assert np.isfinite(image).any()
    section = np.s_[3:20, 5:]
    np.testing.assert_array_equal(read_image(path, section=section), image[section])
    header = read_header(path)
    assert (header["NAXIS2"], header["NAXIS1"]) == image.shape
    field = read_field(path)
    cut = field.section(*section)
    np.testing.assert_array_equal(cut.image[0], image[section])
    if field.wcs is not None:
        assert cut.wcs.pixel_to_world(0, 0).separation(field.wcs.pixel_to_world(5, 3)).arcsec < 1e-6


@pytest.mark.parametrize("name", NAMES or ["any.fits"])
def test_every_header_can_be_kept(data_dir, name, tmp_path):
    if name.replace(os.sep, "/") in WITHOUT_IMAGE:
        header, shape = read_header(data_dir / name, 0), (4, 5)
    else:
        header, shape = read_header(data_dir / name), image_shape(data_dir / name)
    path = write_label_map(tmp_path / "labels.fits", np.ones(shape, int), header=header)
    written, original = read_field(path), read_field(data_dir / name) if shape != (4, 5) else None
    if original is not None and original.wcs is not None:
        assert (
            written.wcs.pixel_to_world(7, 9).separation(original.wcs.pixel_to_world(7, 9)).arcsec
            < 1e-6
        )
    with fits.open(path) as opened:
        opened.verify("exception")


def test_real_label_maps(data_dir):
    labels = read_label_map(data_dir / "hsc_spirals_galmask/gal2_orig_segmap_R.fits.gz")  # 64 bits
    assert labels.dtype == np.int32
    assert labels.max() == 214
    path = data_dir / "kids_galaxies_profit/G266035segim.fits.gz"  # floats, with gaps
    labels = read_label_map(path)
    assert (len(np.unique(labels)), labels.max()) == (4, 6)
    np.testing.assert_array_equal(np.unique(read_label_map(path, relabel=True)), [0, 1, 2, 3])


@pytest.mark.parametrize(
    "name", ["HSC-0908120-056-small", "act-img_suprimecam_i", "cutout-HSC-R-9071-s18a_wide"]
)
def test_exposures_of_image_mask_and_variance(data_dir, name):
    path = data_dir / f"lsst_mef_exposures/{name}.fits"
    field = read_field(path)
    with warnings.catch_warnings(), fits.open(path) as opened:
        warnings.simplefilter("ignore")
        variance = opened[3].data
    expected = np.sqrt(np.where((variance > 0) & np.isfinite(variance), variance, np.nan))
    np.testing.assert_array_equal(field.rms, expected)
    np.testing.assert_array_equal(read_rms(path, kind="variance"), expected)


def test_bands_with_rms_and_truth(data_dir):
    folder = data_dir / "sim_galsim_fields"
    field = read_field(
        [folder / f"dev_{band}.fits.fz" for band in "grz"], labels=folder / "dev_truth.fits.fz"
    )
    assert (field.n_bands, field.shape, field.rms.shape) == (3, (1024, 1024), (3, 1024, 1024))
    assert np.isnan(field.rms).any()
    assert len(field.catalog) == 429
    X, y = field.patches(rms=True, min_sources=1)
    assert X.shape == (16, 4, 256, 256)
    assert (y.max(axis=(1, 2)) > 0).all()


def test_weight_maps_of_every_triple(data_dir):
    weights = sorted((data_dir / "legacypipe_decam").rglob("*_oow_*.fits"))
    assert len(weights) == 15
    for path in weights:
        image = path.with_name(path.name.replace("_oow_", "_ooi_"))
        field = read_field(image, rms=path, rms_kind="auto")
        weight = read_image(path)
        np.testing.assert_array_equal(np.isnan(field.rms), ~(weight > 0))
        good = weight > 0
        np.testing.assert_allclose(field.rms[good] ** -2, weight[good], rtol=1e-5)


def test_sextractor_maps(data_dir):
    folder = data_dir / "emmi_sep_sextractor"
    whole, cut = read_image(folder / "galaxies.fits"), read_image(folder / "image.fits")
    np.testing.assert_array_equal(cut, whole[512:768, 768:1024])
    section = read_image(folder / "galaxies.fits", section=np.s_[512:768, 768:1024])
    np.testing.assert_array_equal(section, cut)


def test_archives_are_refused(data_dir):
    for path in sorted(data_dir.rglob("*.npz")):
        with pytest.raises(
            OSError, match=r"is not a FITS file but a zip archive \(a NumPy .npz file is one\)"
        ):
            read_image(path)

"""Catalogs and mosaics of NDData, fields and masks; units and names of bands."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, NDData, StdDevUncertainty
from astropy.table import QTable, Table
from astropy.wcs import WCS
from sklearn.pipeline import make_pipeline

from galaxysegment import PhotutilsSegmenter
from galaxysegment.catalog import source_catalog, write_catalog
from galaxysegment.io import Field
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.preprocessing import BackgroundSubtractor, GaussianSmoother

LABELS = np.zeros((30, 40), dtype=np.int32)
LABELS[4:9, 5:12] = 1
LABELS[18:25, 20:33] = 2


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(0, 1, LABELS.shape) + 20 * (LABELS > 0)


@pytest.fixture
def wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150, 2]
    wcs.wcs.cdelt, wcs.wcs.crpix = [-1e-4, 1e-4], [20, 15]
    return wcs


def test_an_image_of_astropy_gives_unit_errors_and_sky_positions(image, wcs):
    noise = StdDevUncertainty(np.full(image.shape, 2.0))
    ccd = CCDData(image, unit="nJy", uncertainty=noise, wcs=wcs)
    catalog = source_catalog(LABELS, ccd)
    plain = source_catalog(LABELS, image, rms=np.full(image.shape, 2.0), wcs=wcs)
    assert catalog["flux"].unit == catalog["flux_error"].unit == catalog["peak"].unit == u.nJy
    for name in ("flux", "flux_error", "peak"):
        np.testing.assert_array_equal(catalog[name].value, plain[name])
    np.testing.assert_array_equal(catalog["ra"], plain["ra"])
    without = source_catalog(LABELS, ccd, rms=False)
    assert "flux_error" not in without.colnames
    shifted = source_catalog(LABELS, ccd + 3 * u.nJy, background=0.003 * u.uJy)
    np.testing.assert_allclose(shifted["flux"].value, plain["flux"])


def test_units_that_disagree_are_refused(image):
    with pytest.raises(
        ValueError, match="background has the unit s, but the image has the unit Jy"
    ):
        source_catalog(LABELS, image * u.Jy, background=1 * u.s)
    with pytest.raises(ValueError, match="rms has the unit Jy, but the image has no unit"):
        source_catalog(LABELS, image, rms=np.ones(image.shape) * u.Jy)


def test_masked_pixels_are_not_measured(image, tmp_path):
    mask = LABELS == 1
    mask[18, 20] = True
    expected = source_catalog(LABELS, np.where(mask, np.nan, image))
    fits.writeto(tmp_path / "image.fits", image)
    fits.writeto(tmp_path / "mask.fits", mask.astype(np.uint8))
    forms = {
        "array": source_catalog(LABELS, image, mask=mask),
        "NDData": source_catalog(LABELS, NDData(image, mask=mask)),
        "field": source_catalog(LABELS, Field(image, mask=mask)),
        "field and mask": source_catalog(LABELS, Field(image), mask=mask),
        "file": source_catalog(LABELS, tmp_path / "image.fits", mask=tmp_path / "mask.fits"),
    }
    assert np.isnan(expected["flux"][0]) and expected["masked"].all()
    for form, catalog in forms.items():
        np.testing.assert_array_equal(catalog["flux"], expected["flux"], err_msg=form)
        np.testing.assert_array_equal(catalog["masked"], expected["masked"], err_msg=form)


def test_bands_have_columns_and_zero_points_of_their_own(image):
    cube = np.stack([image, 2 * image, image + 5])
    catalog = source_catalog(
        LABELS, cube, rms=np.ones(cube.shape), bands="grz", zero_point=[25, 24, 23.5]
    )
    assert "flux" not in catalog.colnames
    for index, band in enumerate("grz"):
        alone = source_catalog(
            LABELS, cube[index], rms=np.ones(image.shape), zero_point=[25, 24, 23.5][index]
        )
        for name in ("flux", "flux_error", "magnitude", "magnitude_error"):
            np.testing.assert_allclose(catalog[f"{name}_{band}"], alone[name])
    together = source_catalog(LABELS, cube, zero_point=[25, 24, 23.5])
    np.testing.assert_array_equal(together["flux"][:, 1], catalog["flux_r"])
    np.testing.assert_array_equal(together["magnitude"][:, 2], catalog["magnitude_z"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"zero_point": [25, 24, 23]}, "zero_point must be one number, or one per band .* has 2"),
        ({"zero_point": np.nan}, "zero_point must be one number"),
        ({"bands": ["g"]}, "bands has 1 names, but the image has 2 bands"),
        ({"bands": ["g", "g"]}, "bands must be different names"),
    ],
)
def test_bands_and_zero_points_are_checked(options, words, image):
    with pytest.raises(ValueError, match=words):
        source_catalog(LABELS, np.stack([image, image]), **options)


@pytest.mark.parametrize("suffix", ["csv", "vot", "parquet", "fits", "ecsv"])
def test_columns_of_bands_survive_every_format(suffix, image, tmp_path, wcs):
    ccd = CCDData(np.stack([image, 2 * image]), unit="nJy")
    catalog = source_catalog(LABELS, ccd, bands="gr", wcs=wcs, zero_point=25)
    path = write_catalog(tmp_path / f"sources.{suffix}", catalog)
    if suffix == "parquet":  # astropy reads it with pandas, which is not needed to write
        back = Table(pytest.importorskip("pyarrow.parquet").read_table(path).to_pydict())
    else:
        back = QTable.read(path, **({"format": "votable"} if suffix == "vot" else {}))
    for name in ("flux_g", "flux_r", "magnitude_r", "ra", "semi_major"):
        expected = catalog[name].value
        np.testing.assert_allclose(np.asarray(getattr(back[name], "value", back[name])), expected)
        if suffix not in ("csv", "parquet"):
            assert back[name].unit == catalog[name].unit, name
    assert back["label"].tolist() == [1, 2] and back["edge"].tolist() in (
        [False] * 2,
        ["False"] * 2,
    )


def test_a_csv_has_a_column_for_every_value(image, tmp_path):
    catalog = source_catalog(LABELS, np.stack([image, 2 * image]))
    text = write_catalog(tmp_path / "sources.csv", catalog).read_text().splitlines()
    assert "flux_1,flux_2" in text[0] and len(text) == 3
    assert float(text[1].split(",")[text[0].split(",").index("flux_2")]) == catalog["flux"][0, 1]


# Mosaics


def test_a_mosaic_of_nddata_is_what_predict_gives(image):
    mask = np.zeros(image.shape, dtype=bool)
    mask[18:25, 24:26] = True
    weight = InverseVariance(np.full(image.shape, 0.25))
    weight.array[4:9, 5:7] = 0
    ccd = CCDData(image, unit="adu", uncertainty=weight, mask=mask)
    options = {"tile_size": 16, "progress": False}
    for rms_band in (-1, None):
        segmenter = PhotutilsSegmenter(rms_band=rms_band, n_sigma=3)
        expected = segmenter.predict(ccd)
        assert expected.max() >= 2 and not expected[mask].any() and not expected[4:9, 5:7].any()
        np.testing.assert_array_equal(segment_mosaic(segmenter, ccd, **options), expected)
    plain = segment_mosaic(segmenter, image, mask=mask, **options)
    assert plain[4:9, 5:7].any() and not plain[mask].any()
    ignoring = segment_mosaic(segmenter, ccd, rms=False, **options)
    np.testing.assert_array_equal(ignoring, plain)


def test_a_mosaic_in_files_takes_mask_and_rms_of_extensions(image, tmp_path):
    quality = np.zeros(image.shape, dtype=np.uint32)
    quality[18:25, 24:26], quality[4:9, 5:12] = 2**31 + 1, 4
    weights = np.full(image.shape, 2.0)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI")]
    hdus += [fits.ImageHDU(weights, name="ERR"), fits.ImageHDU(quality, name="DQ")]
    fits.HDUList(hdus).writeto(tmp_path / "mosaic.fits")
    segmenter = PhotutilsSegmenter(rms_band=-1, n_sigma=3)
    options = {"tile_size": 16, "progress": False, "mask_hdu": "DQ", "mask_bits": 2**31}
    expected = segmenter.predict(Field(image, rms=weights, mask=quality & 2**31 > 0))
    labels = segment_mosaic(segmenter, tmp_path / "mosaic.fits", **options)
    np.testing.assert_array_equal(labels, expected)
    assert labels[6, 8] and not labels[20, 24]


def test_workers_read_masks_of_arrays(image):
    mask = LABELS == 2
    segmenter = PhotutilsSegmenter(n_sigma=3)
    options = {"mask": mask, "tile_size": 16, "progress": False}
    np.testing.assert_array_equal(
        segment_mosaic(segmenter, image, n_jobs=2, **options),
        segment_mosaic(segmenter, image, **options),
    )


def test_a_step_that_would_take_the_rms_for_an_image_is_refused(image):
    field = Field(image, rms=np.ones(image.shape))
    segmenter = PhotutilsSegmenter(rms_band=-1)
    pipeline = make_pipeline(BackgroundSubtractor(), segmenter)
    with pytest.raises(ValueError, match=r"BackgroundSubtractor before it.*set rms_band=-1"):
        segment_mosaic(pipeline, field)
    smoothed = make_pipeline(GaussianSmoother(rms_band=-1), segmenter)
    labels = segment_mosaic(smoothed, field, tile_size=16, progress=False)
    np.testing.assert_array_equal(labels, smoothed.predict(field))


def test_rms_of_the_wrong_kind_is_refused(image):
    with pytest.raises(TypeError, match="rms must be an array or None if image is an array"):
        segment_mosaic(PhotutilsSegmenter(rms_band=-1), image, rms=True)
    with pytest.raises(ValueError, match="rms=True takes the RMS map that comes with the image"):
        segment_mosaic(PhotutilsSegmenter(rms_band=-1), Field(image), rms=True)
    with pytest.raises(ValueError, match=r"The mask has shape \(3, 3\)"):
        segment_mosaic(PhotutilsSegmenter(), image, mask=np.ones((3, 3)))

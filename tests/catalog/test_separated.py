"""Fluxes of separated light in a catalog."""

import numpy as np
import pytest
from astropy import units as u

from galaxysegment import Instances
from galaxysegment.catalog import source_catalog
from galaxysegment.separation import TemplateSeparator

SHAPE = (48, 56)
ROWS, COLUMNS = np.indices(SHAPE)
LIGHTS = [
    flux * np.exp(-((ROWS - y) ** 2 + (COLUMNS - x) ** 2) / 18)
    for y, x, flux in ((22, 20, 90), (25, 31, 40))
]
IMAGE = np.sum(LIGHTS, axis=0) + np.random.default_rng(0).normal(size=SHAPE)
SOURCES = Instances.from_masks([light > 1 for light in LIGHTS])
RMS = np.ones(SHAPE)


def test_shared_light_is_counted_once():
    (separated,) = TemplateSeparator().separate(IMAGE[None], [SOURCES], rms=RMS[None])
    catalog = source_catalog(separated, IMAGE, rms=RMS)
    truth = [light.sum() for light in LIGHTS]
    assert catalog["flux_separated"].tolist() == pytest.approx(truth, rel=0.04)
    assert catalog["flux"][1] > 1.2 * truth[1]  # the mask holds light of the neighbour
    assert np.array_equal(catalog["flux_separated"], separated.fluxes)
    assert np.array_equal(catalog["flux_separated_error"], separated.flux_errors)
    assert 0 < catalog["blendedness"][0] < catalog["blendedness"][1] < 1
    plain = source_catalog(SOURCES, IMAGE, rms=RMS)
    assert set(catalog.colnames) - set(plain.colnames) == {
        "flux_separated",
        "flux_separated_error",
        "blendedness",
    }
    assert all(np.array_equal(catalog[name], plain[name]) for name in plain.colnames)


def test_a_column_a_band_with_units():
    image, rms = np.stack([IMAGE, 2 * IMAGE]), np.stack([RMS, 2 * RMS])
    (separated,) = TemplateSeparator().separate(image[None], [SOURCES], rms=rms[None])
    catalog = source_catalog(separated, image * u.nJy, rms=rms * u.nJy, bands="gr")
    assert catalog["flux_separated_r"].unit == u.nJy
    ratio = (catalog["flux_separated_r"] / catalog["flux_separated_g"]).value
    assert ratio == pytest.approx(2, rel=1e-3)
    assert "blendedness_g" in catalog.colnames


def test_another_image_is_refused():
    (separated,) = TemplateSeparator().separate(IMAGE[None], [SOURCES], rms=RMS[None])
    with pytest.raises(ValueError, match=r"1 band\(s\), but the image has 2"):
        source_catalog(separated, np.stack([IMAGE, IMAGE]))


def test_no_source():
    nothing = np.zeros(SHAPE, dtype=int)
    (separated,) = TemplateSeparator().separate(IMAGE[None], nothing[None], rms=RMS[None])
    assert len(source_catalog(separated, IMAGE)) == 0

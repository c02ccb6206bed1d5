"""The weights "sky", which tell galaxies, stars and artefacts apart without training."""

import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from galaxysegment.datasets import load_sample_field, make_field, make_sky
from galaxysegment.metrics import expected_calibration_error, iou_score
from galaxysegment.segmenters import UNetSegmenter
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR


def right_classes(planes, classes, labels, panoptic):
    """Share of the true sources above a signal to noise of 50 whose class is right, by class."""
    flux = np.nan_to_num(planes[0] - np.nanmedian(planes[0]))
    right = {GALAXY: [], STAR: []}
    for label in np.unique(labels[labels > 0]):
        inside = labels == label
        answers = panoptic[0][inside & (panoptic[1] > 0)]
        variance = np.nansum(planes[1][inside] ** 2)
        if flux[inside].sum() > 50 * np.sqrt(variance) and answers.size > inside.sum() / 2:
            kind = classes[inside][0]
            right[kind].append(np.bincount(answers).argmax() == kind)
    return {kind: (np.mean(answers), len(answers)) for kind, answers in right.items()}


@pytest.fixture(scope="module")
def starry():
    """Field with stars, bright ones too, and its truth and prediction."""
    pytest.importorskip("galsim", reason="simulates a field")
    telescope = {"pixel_scale": 0.25, "psf_fwhm": 0.9, "depth": 25.0, "saturation": 30000.0}
    sky = {"density": 40, "star_fraction": 0.4, "bright_stars": 10.0, "large_galaxies": 0.0}
    field, class_map = make_sky(
        (512, 512), **telescope, **sky, clusters=0.0, mosaic=False, random_state=2
    )
    planes = np.stack([field.image[0], field.rms])
    unet = UNetSegmenter(weights="sky", rms_band=-1, n_views=1)
    return planes, class_map, field.labels, unet.predict(planes[None], output="panoptic")[0]


def test_stars_are_told_from_galaxies(starry):
    planes, class_map, labels, panoptic = starry
    right = right_classes(planes, class_map, labels, panoptic)
    for share, count in right.values():
        assert count > 5 and share >= 0.85


def test_stars_of_a_wide_psf_are_told_from_galaxies():
    pytest.importorskip("galsim", reason="simulates a field")
    sky = {"density": 60, "star_fraction": 0.3, "depth": 26.0}
    field = make_field((512, 512), pixel_scale=0.2, psf_fwhm=1.0, **sky, random_state=11)
    planes, labels = np.stack([field.image[0], field.rms]), field.labels
    classes = np.concatenate([[SKY], field.classes])[labels]
    unet = UNetSegmenter(weights="sky", rms_band=-1, n_views=1)
    panoptic = unet.predict(planes[None], output="panoptic")[0]
    right = right_classes(planes, classes, labels, panoptic)
    assert all(count > 5 and share >= 0.8 for share, count in right.values()), right


def test_bright_stars_have_artefacts(starry):
    _, class_map, _, panoptic = starry
    real, named = class_map == ARTEFACT, panoptic[0] == ARTEFACT
    assert real.sum() > 100
    assert (named & real).sum() > 0.7 * named.sum() > 0.2 * real.sum()
    assert set(np.unique(panoptic[0])) <= {SKY, GALAXY, STAR, ARTEFACT}


def faint_rims(planes, truth, panoptic):
    """Count small faint sources on empty sky, most of which lie within two pixels of artefacts."""
    near = ndimage.binary_dilation(panoptic[0] == ARTEFACT, np.ones((5, 5)))
    signal = np.nan_to_num((planes[0] - np.nanmedian(planes[0])) / planes[1])
    n_rims = 0
    for label in np.unique(panoptic[1][near & (panoptic[1] > 0)]):
        inside = panoptic[1] == label
        is_rim = inside.sum() <= 64 and near[inside].mean() > 0.6
        is_faint = signal[inside].sum() < 5 * np.sqrt(inside.sum())
        n_rims += is_rim and is_faint and not truth[inside].any()
    return n_rims


def test_another_simulator(data_dir):
    folder = data_dir / "sim_galsim_fields"
    planes = np.stack(
        [fits.getdata(folder / "dev_r.fits.fz", name).astype(np.float32) for name in ("SCI", "RMS")]
    )
    labels, truth = (
        fits.getdata(folder / "dev_truth.fits.fz", name).astype(int) for name in ("LABEL", "CLASS")
    )
    classes = np.select([truth == 1, truth == 2], [STAR, GALAXY], SKY)
    planes[1] = np.where(planes[1] > 0, planes[1], np.nan)
    unet = UNetSegmenter(weights="sky", rms_band=-1, n_views=1)
    panoptic = unet.predict(planes[None], output="panoptic")[0]
    right = right_classes(planes, classes, labels, panoptic)
    assert right[STAR][0] >= 0.85 and right[GALAXY][0] >= 0.8
    assert iou_score(labels > 0, panoptic[1] > 0) >= 0.78
    assert faint_rims(planes, labels, panoptic) == 0


def test_they_are_calibrated_and_need_no_rms_map():
    X, y = load_sample_field().patches(size=256)
    unet = UNetSegmenter(weights="sky", n_views=1)
    assert unet.pixel_classes_.tolist() == [SKY, GALAXY, STAR, ARTEFACT]
    proba = unet.predict_proba(X)
    assert expected_calibration_error(y > 0, proba, between=(0.05, 0.95)) < 0.06
    assert unet.score(X, y) > 0.7


def test_training_goes_on_from_them():
    X, y = load_sample_field().patches(size=128)
    truth = np.stack([np.where(y[:4] > 0, GALAXY, SKY), y[:4]], axis=1)
    unet = UNetSegmenter(weights="sky", max_epochs=1, lr=1e-6, random_state=0)
    unet.fit(X[:4], truth)
    assert unet.pixel_classes_.tolist() == [SKY, GALAXY, STAR, ARTEFACT]
    with pytest.raises(ValueError, match="must be a panoptic map"):
        UNetSegmenter(weights="sky").fit(X[:4], y[:4])

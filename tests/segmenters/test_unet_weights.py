"""The weights that ship: what they reach without training, on fields they never saw."""

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment._utils.shipped import _FOLDER
from galaxysegment.datasets import load_sample_field
from galaxysegment.metrics import (
    detection_scores,
    dice_score,
    expected_calibration_error,
    iou_score,
)
from galaxysegment.persistence import load, save
from galaxysegment.preprocessing import NoiseNormalizer
from galaxysegment.segmenters import UNetSegmenter
from galaxysegment.structures import remove_small


@pytest.fixture(scope="module")
def sim_field(data_dir):
    folder = data_dir / "sim_galsim_fields"
    image, rms = (
        fits.getdata(folder / "dev_r.fits.fz", name).astype(np.float32) for name in ("SCI", "RMS")
    )
    return image, rms, fits.getdata(folder / "dev_truth.fits.fz", "LABEL").astype(np.int32)


@pytest.mark.parametrize("with_rms", [True, False])
def test_a_field_of_another_simulator(sim_field, with_rms):
    image, rms, truth = sim_field
    X = np.stack([image, rms])[None] if with_rms else image[None]
    unet = UNetSegmenter(weights="vis", rms_band=-1 if with_rms else None, deblend=True)
    labels = unet.predict(X)[0]
    mask = unet.predict_proba(X)[0] > unet.proba_threshold_
    assert iou_score(truth > 0, mask) >= 0.80
    assert dice_score(truth > 0, mask) >= 0.89
    assert detection_scores(remove_small(truth, 10), labels).f1 >= 0.85


def test_the_sample_field():
    field = load_sample_field()
    X, y = field.patches(size=256)
    assert UNetSegmenter(weights="vis").score(X, y) > 0.7


def test_units_background_and_preprocessing_do_not_matter():
    X, _ = load_sample_field().patches(size=256)
    unet = UNetSegmenter(weights="vis", precision="float32")
    expected = unet.predict_proba(X[:2])
    for other in (1e-9 * X[:2].astype(np.float64) - 3, NoiseNormalizer().fit_transform(X[:2])):
        assert np.mean((unet.predict_proba(other) > 0.5) != (expected > 0.5)) < 0.01


def test_more_bands_than_the_weights_know():
    with pytest.raises(
        ValueError, match=r"sees 1 band\(s\) after scaling, but X gives 2: pass one band"
    ):
        UNetSegmenter(weights="vis").predict(np.zeros((1, 2, 32, 32)))


def test_training_goes_on_from_them():
    X, y = load_sample_field().patches(size=128)
    unet = UNetSegmenter(weights="vis", max_epochs=1, lr=1e-6, random_state=0)
    unet.fit(X[:4], y[:4])
    assert unet.scaling_ == "noise" and unet.net_.module_.head.in_channels == 16
    assert len(unet.history_) == 1


def test_they_are_small_and_described():
    assert (_FOLDER / "UNetSegmenter-vis.safetensors").stat().st_size < 5e6
    assert "Where it fails" in (_FOLDER / "VIS_CARD.md").read_text()


def test_the_shipped_weights_are_calibrated(tmp_path):
    X, y = load_sample_field().patches(size=256, rms=True)
    X, y = X[:4], y[:4]
    ready = UNetSegmenter(weights="vis", rms_band=-1, n_views=1)
    proba, labels = ready.predict_proba(X), ready.predict(X)
    save(ready, tmp_path / "calibrated.safetensors")
    again = load(tmp_path / "calibrated.safetensors")
    np.testing.assert_array_equal(again.predict_proba(X[:1]), proba[:1])
    threshold = ready.proba_threshold_
    ready._drop_calibration()
    before = ready.predict_proba(X)
    np.testing.assert_array_equal(proba > threshold, before > ready.threshold_)
    np.testing.assert_array_equal(ready.predict(X), labels)
    uncertain = {"between": (0.05, 0.95)}
    error = expected_calibration_error(y, proba, **uncertain)
    assert error < 0.06 < expected_calibration_error(y, before, **uncertain)


def test_training_drops_the_calibration():
    X, y = load_sample_field().patches(size=128, rms=True)
    ready = UNetSegmenter(weights="vis", rms_band=-1, max_epochs=1, random_state=0, n_views=1)
    ready.fit(X[:2], y[:2])
    assert "calibration_" not in vars(ready)
    ready.calibrate(X[2:6], y[2:6])
    assert "calibration_" in vars(ready)
    ready.partial_fit(X[:2], y[:2])
    assert "calibration_" not in vars(ready)

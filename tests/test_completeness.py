"""Injected galaxies come back as the true ones do."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from galaxysegment import PhotutilsSegmenter
from galaxysegment.completeness import _injection, injection_completeness
from galaxysegment.io import Field
from galaxysegment.preprocessing import GaussianSmoother

pytest.importorskip("galsim")
CAMERA = {"zero_point": 33.0, "pixel_scale": 0.2, "psf_fwhm": 0.7}
SKY = np.random.default_rng(0).normal(100, 5, (220, 260)).astype(np.float32)
BINS = [22.0, 24.0, 28.0, 31.0]


def measure(segmenter=None, image=SKY, **options):
    options = {
        "bins": BINS,
        "n_galaxies": 60,
        "spacing": 48,
        "random_state": 0,
        **CAMERA,
        **options,
    }
    return injection_completeness(segmenter or PhotutilsSegmenter(), image, **options)


def test_bright_galaxies_are_found_and_faint_ones_are_not():
    curve = measure()
    assert curve.n.tolist() == [20, 20, 20]
    assert curve.fraction[0] > 0.9 and curve.fraction[2] == 0
    deep, shallow = (measure(PhotutilsSegmenter(n_sigma=n)) for n in (1.0, 5.0))
    assert deep.fraction[1] > shallow.fraction[1]


def test_the_curve_depends_on_the_seed_alone():
    first, again, two_jobs = measure(), measure(), measure(n_jobs=2)
    np.testing.assert_array_equal(first.n_hit, again.n_hit)
    np.testing.assert_array_equal(first.n_hit, two_jobs.n_hit)
    assert (measure(random_state=1).n_hit != first.n_hit).any()


def test_a_segmenter_that_finds_everything_or_nothing():
    nothing = measure(PhotutilsSegmenter(n_sigma=1e6))
    assert nothing.n_hit.sum() == 0 and nothing.n.sum() == 60


def test_galaxies_are_injected_beside_sources_and_gaps(monkeypatch):
    image = SKY.copy()
    y, x = np.indices(image.shape)
    image += 400 * np.exp(-((y - 110) ** 2 + (x - 130) ** 2) / 900)
    image[:, :60] = np.nan
    batches = []
    recover = _injection._recover

    def note(segmenter, pixels, noise, camera, batch, *rest):
        batches.append(batch)
        return recover(segmenter, pixels, noise, camera, batch, *rest)

    monkeypatch.setattr(_injection, "_recover", note)
    measure(image=image, n_galaxies=200)
    for batch in batches:
        assert (batch["x"] > 59).all()
        assert (np.hypot(batch["y"] - 110, batch["x"] - 130) > 20).all()
        places = np.column_stack([batch["y"], batch["x"]])
        distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
        assert (distance[~np.eye(len(batch), dtype=bool)] > 40).all()


def test_places_near_sources_are_left_out_on_request(monkeypatch):
    image = SKY.copy()
    y, x = np.indices(image.shape)
    image += 4000 * np.exp(-((y - 110) ** 2 + (x - 130) ** 2) / 10)
    image[200:, 200:] = np.nan
    place, distances = _injection._place, []

    def note(rng, sources, is_open, spacing):
        rows, columns = np.nonzero(is_open)
        distances.append(np.hypot(rows - 110, columns - 130).min())
        return place(rng, sources, is_open, spacing)

    monkeypatch.setattr(_injection, "_place", note)
    for clearance in (0, 40):
        curve = measure(image=image, clearance=clearance)
        assert curve.n.sum() == 60
    assert distances[0] < 30 and distances[1] > 40


def test_fields_pipelines_and_photon_noise():
    rms = np.full(SKY.shape, 5.0, dtype=np.float32)
    field = Field(SKY, rms=rms)
    assert measure(PhotutilsSegmenter(rms_band=-1), field).fraction[0] > 0.9
    assert measure(make_pipeline(GaussianSmoother(fwhm=2), PhotutilsSegmenter())).n.sum() == 60
    noisy, clean = measure(gain=1e-4), measure(gain=100.0)
    assert noisy.fraction[0] < clean.fraction[0]


def test_adaptive_injection_prefers_the_steep_bins():
    bins = [22.0, 23.0, 24.0, 25.0, 26.0, 27.0, 28.0]
    curve = measure(bins=bins, n_galaxies=240, adaptive=True)
    assert curve.n.sum() == 240
    flat = (curve.fraction == 0) | (curve.fraction == 1)
    assert curve.n[flat].max() < curve.n[~flat].max() / 2


def test_regression_keeps_counts_and_agrees_with_them():
    options = {"bins": [23.0, 25.0, 26.0, 27.0, 29.0], "n_galaxies": 400}
    counted, assisted = measure(**options), measure(**options, method="regression")
    np.testing.assert_array_equal(counted.n_hit, assisted.n_hit)
    error = np.sqrt(counted.fraction * (1 - counted.fraction) / counted.n) + 0.01
    assert (np.abs(assisted.fraction - counted.fraction) < 4 * error).all()
    assert (assisted.high - assisted.low < counted.high - counted.low).all()
    nothing = measure(PhotutilsSegmenter(n_sigma=1e6), method="regression")
    assert nothing.fraction.max() == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "guess"}, "method must be 'count' or 'regression'"),
        ({"bins": [3, 2]}, "bins must be two or more increasing"),
        ({"n_galaxies": 1}, "n_galaxies must be at least the number of bins, 3"),
        ({"radius": 0}, "radius must be a positive number"),
        ({"spacing": 5}, "spacing must be between 16 pixels"),
        ({"adaptive": True, "bins": [22, 24, 26]}, "adaptive=True needs three or more bins"),
        ({"clearance": -1}, "clearance must be a number of pixels"),
        ({"gain": -1}, "gain must be a positive number"),
        ({"image": np.zeros((2, 50, 50))}, "image must have one band"),
        ({"image": np.full((64, 64), np.nan)}, "no pixel with data"),
    ],
)
def test_bad_input_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        measure(**options)

"""Injected galaxies come back as the true ones do."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from galaxysegment import PhotutilsSegmenter, completeness
from galaxysegment.completeness import injection_completeness
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
    recover = completeness._recover

    def note(segmenter, pixels, noise, camera, batch, *rest):
        batches.append(batch)
        return recover(segmenter, pixels, noise, camera, batch, *rest)

    monkeypatch.setattr(completeness, "_recover", note)
    measure(image=image, n_galaxies=200)
    for batch in batches:
        assert (batch["x"] > 59).all()
        assert (np.hypot(batch["y"] - 110, batch["x"] - 130) > 20).all()
        places = np.column_stack([batch["y"], batch["x"]])
        distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
        assert (distance[~np.eye(len(batch), dtype=bool)] > 40).all()


def test_fields_pipelines_and_photon_noise():
    rms = np.full(SKY.shape, 5.0, dtype=np.float32)
    field = Field(SKY, rms=rms)
    assert measure(PhotutilsSegmenter(rms_band=-1), field).fraction[0] > 0.9
    assert measure(make_pipeline(GaussianSmoother(fwhm=2), PhotutilsSegmenter())).n.sum() == 60
    noisy, clean = measure(gain=1e-4), measure(gain=100.0)
    assert noisy.fraction[0] < clean.fraction[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bins": [3, 2]}, "bins must be two or more increasing"),
        ({"n_galaxies": 1}, "n_galaxies must be at least the number of bins, 3"),
        ({"radius": 0}, "radius must be a positive number"),
        ({"spacing": 5}, "spacing must be between 16 pixels"),
        ({"gain": -1}, "gain must be a positive number"),
        ({"image": np.zeros((2, 50, 50))}, "image must have one band"),
        ({"image": np.full((64, 64), np.nan)}, "no pixel with data"),
    ],
)
def test_bad_input_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        measure(**options)

"""The recipe of the net that tells galaxies, stars and artefacts apart in several bands."""

import numpy as np
import pytest

pytest.importorskip("galsim", reason="simulates fields with GalSim")
torch = pytest.importorskip("torch", reason="trains a net")

from benchmarks import band_fields, bench_bands, class_fields, train_shipped_bands  # noqa: E402
from galaxysegment import UNetSegmenter  # noqa: E402
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR, VOID  # noqa: E402

SIDE = 96


@pytest.fixture
def small(monkeypatch):
    """Small fields and patches."""
    for module in (band_fields, class_fields):
        monkeypatch.setattr(module, "SHAPE", (SIDE, SIDE))
    monkeypatch.setattr(class_fields, "PATCH", 64)


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    return train_shipped_bands.beginning(tmp_path_factory.mktemp("net") / "start.safetensors", 0)


def test_it_begins_as_the_stack_in_the_eyes_of_sky(unet, small):
    planes, _ = class_fields.simulate(3)
    sky = UNetSegmenter(weights="sky", rms_band=-1, n_views=1)
    expected = sky.predict(planes[None], output="panoptic")
    np.testing.assert_array_equal(unet.predict(planes[None], output="panoptic"), expected)
    # three bands of one sky: the net sees their stack, whose noise is lower by the root of three
    rows, columns = np.indices((SIDE, SIDE))
    light = sum(
        3 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 18)
        for y, x in ((20, 25), (30, 70), (60, 40), (75, 80))
    )
    noise = np.random.default_rng(0).normal(size=(3, SIDE, SIDE))
    bands = (light + noise).astype(np.float32)[None]
    single, three = (unet.set_params(rms_band=None).predict_proba(X) for X in (bands[:, :1], bands))
    unet.set_params(rms_band=-1)
    assert three.sum() > 1.05 * single.sum()


@pytest.mark.parametrize("n_bands", [2, 5])
def test_fields_have_bands_one_map_and_a_truth(small, n_bands):
    planes, truth = band_fields.simulate(11, n_bands)
    again, _ = band_fields.simulate(11, n_bands)
    np.testing.assert_array_equal(planes, again)
    assert planes.shape == (n_bands + 1, SIDE, SIDE) and truth.shape == (2, SIDE, SIDE)
    assert set(np.unique(truth[0])) <= {VOID, SKY, GALAXY, STAR, ARTEFACT}
    assert np.nanmin(planes[-1]) > 0


def test_batches_mix_numbers_of_bands(small, unet, tmp_path):
    fields = band_fields.Fields(unet, tmp_path, first=20, first_single=40)
    for _ in range(5):
        fields.add()
    counts = [len(scaled) for scaled, *_ in fields.fields]
    assert counts[4] == 1 and min(counts[:4]) >= 2
    images, classes, weights = fields.batch(np.random.default_rng(0))
    n_bands = images.abs().sum(dim=(2, 3)).count_nonzero(dim=1)
    assert images.shape[1] == n_bands.max() > n_bands.min()
    assert classes.shape == weights.shape == (class_fields.BATCH, 64, 64)


def test_the_benchmark_counts_sources_of_the_stack(small, unet, tmp_path):
    planes, truth = band_fields.simulate(12, 3)
    prediction = bench_bands.predict("stack", planes, 0, 1)
    tally = bench_bands.Tally()
    tally.add(planes, truth, prediction)
    assert "IoU 0." in tally.describe() and prediction.labels.any()

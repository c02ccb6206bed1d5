"""Properties of separated light: it adds up, scales and mirrors as the image does."""

import tempfile
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import covers, few

from galaxysegment import Instances, NoSourcesWarning, PhotutilsSegmenter, metrics
from galaxysegment.io import read_separated
from galaxysegment.mosaic import separate_mosaic
from galaxysegment.separation import (
    SegmentThenSeparate,
    Separated,
    TemplateSeparator,
    UNetSeparator,
)

ROWS, COLUMNS = np.indices((32, 36))


@st.composite
def scenes(draw):
    """Lights of one to four galaxies, anywhere, and noise."""
    n, seed = draw(st.integers(1, 4)), draw(st.integers(0, 999))
    random = np.random.default_rng(seed)
    lights = [
        random.uniform(5, 200)
        * np.exp(
            -((ROWS - random.uniform(4, 28)) ** 2 + (COLUMNS - random.uniform(4, 32)) ** 2)
            / random.uniform(4, 40)
        )
        for _ in range(n)
    ]
    sources = Instances.from_masks([light > min(1, light.max() / 2) for light in lights])
    return np.array(lights), random.normal(size=ROWS.shape), sources


def separate(image, sources):
    return TemplateSeparator().separate(image[None], [sources], rms=np.ones((1, *image.shape)))[0]


@covers("separation.TemplateSeparator", "separation.Separated", "structures.Separated")
@given(scenes(), st.sampled_from([0.5, 4.0]))
@few
def test_light_adds_up_and_scales(scene, factor):
    lights, noise, sources = scene
    image = lights.sum(axis=0) + noise
    separated = separate(image, sources)
    assert isinstance(separated, Separated) and len(separated) == len(lights)
    assert np.allclose(separated.total() + separated.residual, image, atol=1e-3)
    assert np.isfinite(separated.fluxes).all() and (separated.flux_errors >= 0).all()
    total = [part.sum(dtype=float) for part in separated.parts]
    assert separated.fluxes == pytest.approx(total, rel=1e-4, abs=1e-2)
    scaled = TemplateSeparator().separate(
        factor * image[None], [sources], rms=np.full((1, *image.shape), factor)
    )[0]
    assert scaled.fluxes == pytest.approx(factor * separated.fluxes, rel=1e-6, abs=1e-3)


@covers("mosaic.separate_mosaic", "io.read_separated")
@given(scenes(), st.sampled_from([9, 20, 100]))
@few
def test_tiles_and_files_hold_the_light_of_the_whole_image(scene, tile_size):
    lights, noise, sources = scene
    image = lights.sum(axis=0) + noise
    whole = separate(image, sources)
    options = {"rms": np.ones(image.shape), "tile_size": tile_size, "progress": False}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "light.fits"
        options |= {"output": path, "kind": "parts"}
        separate_mosaic(TemplateSeparator(), image, sources, **options)
        read = read_separated(path)
        section = read_separated(path, section=(slice(3, 20), slice(10, 36)))
    assert np.array_equal(read.fluxes, whole.fluxes)
    assert np.array_equal(read.residual, whole.residual)
    assert all(np.array_equal(*pair) for pair in zip(read.parts, whole.parts, strict=True))
    assert read.sources.boxes.tolist() == sources.boxes.tolist()
    assert np.allclose(section.total() + section.residual, image[3:20, 10:36], atol=1e-3)


@lru_cache(maxsize=1)
def small_net():
    places = [(16, 12), (18, 22)]
    light = np.array([60 * np.exp(-((ROWS - y) ** 2 + (COLUMNS - x) ** 2) / 12) for y, x in places])
    noise = np.random.default_rng(0).normal(size=ROWS.shape)
    quick = {"weights": None, "base_width": 2, "max_epochs": 1, "validation_fraction": 0}
    return UNetSeparator(**quick, random_state=0).fit((light.sum(axis=0) + noise)[None], [light])


@covers("separation.UNetSeparator")
@given(scenes())
@few
def test_a_net_gives_away_the_same_light_as_its_templates(scene):
    lights, noise, sources = scene
    image = lights.sum(axis=0) + noise
    rms = np.ones((1, *image.shape))
    (ours,) = small_net().separate(image[None], [sources], rms=rms)
    templates = TemplateSeparator(n_iterations=small_net().n_iterations)
    (theirs,) = templates.separate(image[None], [sources], rms=rms)
    assert np.allclose(ours.total(), theirs.total(), atol=2e-3 * image.max())
    assert np.allclose(ours.total() + ours.residual, image, atol=1e-3)


@covers("separation.SegmentThenSeparate")
@given(scenes())
@few
def test_the_pair_separates_what_its_segmenter_predicts(scene):
    lights, noise, _ = scene
    image = lights.sum(axis=0) + noise
    stack = np.stack([image, np.ones_like(image)])[None]
    pair = SegmentThenSeparate(PhotutilsSegmenter(rms_band=-1), rms_band=-1).fit(stack)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoSourcesWarning)
        expected = pair.predict(stack, output="instances")[0]
        separated = pair.separate(stack)[0]
    assert separated.sources == expected
    assert np.allclose(separated.total() + separated.residual, image, atol=1e-3)


@covers("metrics.separation_scores", "metrics.separation_scorer")
@given(scenes())
@few
def test_scores_of_separated_light(scene):
    lights, noise, sources = scene
    image = lights.sum(axis=0) + noise
    separated = separate(image, sources)
    scores = metrics.separation_scores([lights], [separated])
    assert scores["flux_error"] >= 0 and scores["spurious"] >= 0 and 0 <= scores["missed"] <= 1
    assert scores["ssim"] <= 1 or np.isnan(scores["ssim"])

    class Oracle:
        def separate(self, X):
            return [separated]

    score = metrics.get_scorer("separation")(Oracle(), image[None], [lights])
    assert score == pytest.approx(1 - scores["flux_error"])

"""Detection by compiled functions in windows of a mosaic gives what sep gives."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxysegment import SEPSegmenter
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.segmenters import _sep_mesh

pytest.importorskip("sep")


def crowd(seed, shape, n=90):
    """Blends on a tilted, noisy sky."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    image = rng.normal(50 + 0.05 * x, 1, shape)
    for _ in range(n):
        cy, cx, width = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(0.8, 2)
        image += rng.uniform(2, 12) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    return image.astype(np.float32)


def labels_of(image, monkeypatch, *, in_strips, rms=None, **parameters):
    segmenter = SEPSegmenter(box_size=40, rms_band=None if rms is None else -1, **parameters)
    with monkeypatch.context() as context:
        if not in_strips:
            context.setattr(SEPSegmenter, "_strips", lambda *_: None)
        return segment_mosaic(segmenter, image, rms=rms, tile_size=70, progress=False)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    deblend=st.booleans(),
    clean=st.booleans(),
    n_pixels=st.sampled_from([1, 2, 5, 12]),
    contrast=st.sampled_from([0, 0.005, 0.1]),
    fwhm=st.sampled_from([None, 2, 3]),
    kernel_size=st.sampled_from([3, 5, 7]),
    with_rms=st.booleans(),
)
def test_strips_equal_sep(
    seed, deblend, clean, n_pixels, contrast, fwhm, kernel_size, with_rms, monkeypatch_class
):
    image = crowd(seed, (130, 150))
    options = {
        "rms": np.random.default_rng(seed).uniform(0.8, 1.5, image.shape).astype(np.float32)
        if with_rms
        else None,
        "deblend": deblend,
        "clean": clean,
        "n_pixels": n_pixels,
        "contrast": contrast,
        "fwhm": fwhm,
        "kernel_size": kernel_size,
        "n_sigma": 1.5,
    }
    strips = labels_of(image, monkeypatch_class, in_strips=True, **options)
    expected = labels_of(image, monkeypatch_class, in_strips=False, **options)
    assert np.array_equal(strips, expected)


@pytest.fixture(scope="module")
def monkeypatch_class():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("galaxysegment.segmenters._sep.compiling_pays", lambda _: True)
        yield patch


@pytest.mark.parametrize("with_rms", [False, True])
@pytest.mark.parametrize("n_sigma", [0, 1.5])
def test_bright_and_dark_pixels_beside_faint_sources(n_sigma, with_rms, monkeypatch_class):
    # Rounding of pixels this bright is as large as the threshold: sep's own sum decides.
    image = crowd(3, (140, 300))
    rng = np.random.default_rng(3)
    for value in (1e5, -1e5, 3e7):
        image[tuple(rng.integers(0, (140, 300), (12, 2)).T)] = value
    rms = rng.uniform(0.5, 2, image.shape).astype(np.float32) if with_rms else None
    options = {"n_sigma": n_sigma, "n_pixels": 1, "clean": False, "rms": rms}
    strips = labels_of(image, monkeypatch_class, in_strips=True, **options)
    expected = labels_of(image, monkeypatch_class, in_strips=False, **options)
    assert strips.max() > 50
    assert np.array_equal(strips, expected)


@pytest.mark.parametrize(
    ("change", "in_strips"),
    [
        ({}, True),
        ({"matched_filter": True}, False),
        ({"dtype": np.float64}, False),
        ({"gap": True}, False),
    ],
)
def test_other_images_go_to_sep_as_a_whole(change, in_strips, monkeypatch_class):
    image = crowd(1, (90, 100)).astype(change.get("dtype", np.float32))
    if change.get("gap"):
        image[10:20, 10:20] = np.nan
    segmenter = SEPSegmenter(matched_filter=change.get("matched_filter", False), box_size=40)
    used = []
    strips = SEPSegmenter._strips
    with monkeypatch_class.context() as context:
        context.setattr(
            SEPSegmenter, "_strips", lambda *a: used.append(strips(*a) is not None) or strips(*a)
        )
        segment_mosaic(segmenter, image, tile_size=100, progress=False)
    assert used == [in_strips]


@pytest.mark.parametrize("shape", [(9, 7), (1, 12), (14, 14)])
@pytest.mark.parametrize("share", [0.03, 0.3, 0.95])
def test_boxes_without_trust_are_filled_from_the_nearest(shape, share):
    rng = np.random.default_rng(3)
    trusted = rng.random(shape) < share
    trusted[0, 3] = True
    level, noise = rng.normal(1000, 1, (2, *shape)).astype(np.float32).astype(np.float64)
    filled = _sep_mesh._fill(level, noise, trusted)
    places = np.argwhere(trusted)
    for y, x in np.argwhere(~trusted):
        squares = ((places - (y, x)) ** 2).sum(axis=1)
        nearest = tuple(places[squares == squares.min()].T)
        for mesh, expected in zip(filled, (level, noise), strict=True):
            assert mesh[y, x] == pytest.approx(expected[nearest].mean(), rel=1e-14)
    for mesh, expected in zip(filled, (level, noise), strict=True):
        np.testing.assert_array_equal(mesh[trusted], expected[trusted])


def test_a_window_needs_few_lines_of_the_mesh():
    rng = np.random.default_rng(0)
    measured = np.stack([*rng.normal(100, 1, (2, 40, 30)), np.ones((40, 30))])
    background = _sep_mesh.MosaicBackground(measured, (10, 10), 3).at(135, 80, (60, 70))
    whole = background.back()
    for lines, weights, values, *_ in background.rows()[:1]:
        assert len(values) == 2 * 7  # of the boxes of 60 rows, and their curvatures
        np.testing.assert_allclose((weights[:, :, None] * values[lines]).sum(axis=1), whole, 1e-6)


def test_a_mosaic_starts_without_packages_that_take_long(tmp_path):
    image = crowd(7, (700, 700), 900)
    image[200:360, 200:360] += 40  # an object that boxes are left out for
    np.save(tmp_path / "image.npy", image)
    code = f"""
import sys
import numba
import numpy as np
from galaxysegment import SEPSegmenter
from galaxysegment.mosaic import segment_mosaic
image = np.load({str(tmp_path / "image.npy")!r})
labels = segment_mosaic(SEPSegmenter(box_size=40), image, tile_size=400, progress=False)
print(labels.max() > 450, {{"scipy.spatial", "scipy.special"}} & set(sys.modules))
"""
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output.split() == ["True", "set()"]

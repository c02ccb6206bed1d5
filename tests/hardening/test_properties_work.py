"""Properties of catalogs, mosaics, augmentation, pictures, simulated files and the command line."""

import contextlib
import io
import json
import re
import tempfile
import warnings
from base64 import b64decode

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from properties import covers, few, fewer, instances, label_maps

from galaxysegment import PhotutilsSegmenter
from galaxysegment.catalog import (
    cutouts,
    morphology,
    profiles,
    source_catalog,
    write_catalog,
    write_cutouts,
    write_regions,
)
from galaxysegment.cli import main
from galaxysegment.completeness import injection_completeness
from galaxysegment.datasets import write_field
from galaxysegment.display import SegmentationDisplay, contact_sheet
from galaxysegment.io import read_field, write_label_map
from galaxysegment.metrics import fraction_curve, match_positions
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.preprocessing import GaussianSmoother, augment
from galaxysegment.report import write_report
from galaxysegment.testing import estimator_checks, make_images


@st.composite
def measured(draw):
    labels = draw(label_maps())
    return labels, draw(hnp.arrays(np.float64, labels.shape, elements=st.floats(-100, 1000)))


@covers("catalog.source_catalog")
@given(measured(), st.floats(-10, 10))
@few
def test_catalogs_measure_what_is_there(drawn, level):
    labels, image = drawn
    assume(labels.any())
    catalog = source_catalog(labels, image)
    present = np.unique(labels[labels > 0])
    assert catalog["label"].tolist() == present.tolist()
    assert catalog["area"].tolist() == np.bincount(labels.ravel())[present].tolist()
    sums = [image[labels == label].sum() for label in present]
    np.testing.assert_allclose(np.ravel(catalog["flux"]), sums, rtol=1e-9, atol=1e-6)
    assert (
        (catalog["x_min"] <= catalog["x"]) & (catalog["x"] <= catalog["x_max"])
        | np.isnan(catalog["x"])
    ).all()
    brighter = source_catalog(labels, image + level, background=level)
    np.testing.assert_allclose(np.ravel(brighter["flux"]), sums, rtol=1e-6, atol=1e-6)
    mirrored = source_catalog(labels[::-1], image[::-1])
    np.testing.assert_allclose(
        mirrored["y"], labels.shape[0] - 1 - np.asarray(catalog["y"]), atol=1e-6
    )


@covers("report.write_report")
@given(measured())
@few
def test_pages_show_every_source(drawn):
    labels, image = drawn
    assume(labels.any())
    with tempfile.TemporaryDirectory() as folder:
        page = write_report(f"{folder}/page.html", image, labels, progress=False)
        text = page.read_text(encoding="utf-8")
    document = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    column = next(column for column in document["columns"] if column["name"] == "label")
    shown = np.frombuffer(b64decode(column["data"]), "<i4")
    assert shown.tolist() == np.unique(labels[labels > 0]).tolist()
    outlines = re.search(r'id="outlines">\n(.*?)</script>', text, re.S)[1].split("\n")[:-1]
    assert len(outlines) == len(shown)


@covers("catalog.morphology", "catalog.profiles")
@given(st.integers(0, 10**6), st.floats(1.5, 3.0), st.floats(0.5, 20.0))
@fewer
def test_shapes_do_not_depend_on_brightness_and_place(seed, scale, factor):
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((90, 110))
    disk = np.exp(-np.hypot((rows - 40) / 0.7, columns - 50) / scale)
    image = 100 * disk + rng.normal(0, 0.1, disk.shape)
    labels = (disk > 0.02).astype(int)
    moved = np.roll(image, (5, -8), axis=(0, 1)), np.roll(labels, (5, -8), axis=(0, 1))
    for measure, names in (
        (morphology, ["gini", "m20", "concentration", "petrosian_radius"]),
        (profiles, ["growth", "surface_brightness"]),
    ):
        table, shifted = measure(labels, image), measure(moved[1], factor * moved[0])
        unit = factor if measure is profiles else 1.0
        for name in names:
            values, expected = (
                np.asarray(getattr(t[name], "value", t[name])) for t in (shifted, table)
            )
            np.testing.assert_allclose(values, unit * expected, rtol=1e-5, atol=1e-5, err_msg=name)


@covers("catalog.cutouts", "catalog.write_cutouts", "display.contact_sheet")
@given(measured(), st.integers(1, 9))
@few
def test_cutouts_hold_their_sources(drawn, size):
    labels, image = drawn
    assume(labels.any())
    stamps = cutouts(image, labels)
    assert [stamp.label for stamp in stamps] == np.unique(labels[labels > 0]).tolist()
    assert [stamp.mask.sum() for stamp in stamps] == [
        (labels == stamp.label).sum() for stamp in stamps
    ]
    small = cutouts(image, labels, size=size)
    assert all(max(stamp.image.shape) <= size for stamp in small)
    with tempfile.TemporaryDirectory() as folder:
        path = write_cutouts(f"{folder}/stamps.fits", small[:3])
        with fits.open(path) as hdus:
            np.testing.assert_array_equal(hdus["SCI", 1].data, small[0].image)
    plt.close(contact_sheet(small, most=2))


@covers("metrics.fraction_curve", "metrics.match_positions")
@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 20), st.just(2)), elements=st.floats(0, 9)))
@few
def test_positions_match_themselves_and_count_once(places):
    i, j = match_positions(places, places[::-1], 0.5)
    distance = np.linalg.norm(places[i] - places[::-1][j], axis=1)
    assert (distance <= 0.5).all() and len(set(i)) == len(i) == len(set(j))
    is_hit = np.isin(np.arange(len(places)), i)
    curve = fraction_curve(places[:, 0], is_hit, [0, 3, 6, 10])
    assert curve.n.sum() == len(places) and curve.n_hit.sum() == len(i)
    filled = curve.n > 0
    assert (curve.low <= curve.fraction)[filled].all() and (curve.fraction <= curve.high)[
        filled
    ].all()


@covers("completeness.injection_completeness")
@given(hnp.arrays(np.float32, (48, 56), elements=st.floats(-50, 50, width=32)))
@fewer
def test_any_sky_gives_a_curve(sky):
    camera = {"zero_point": 30.0, "pixel_scale": 0.2, "psf_fwhm": 0.7}
    segmenter = PhotutilsSegmenter(n_sigma=5)
    try:
        curve = injection_completeness(
            segmenter, sky, bins=[18, 20, 26], n_galaxies=4, spacing=40, random_state=0, **camera
        )
    except ValueError as error:  # every pixel is a source, or the sky has no noise
        assert "image" in str(error)
        return
    assert curve.n.tolist() == [2, 2] and (curve.n_hit <= curve.n).all()


@covers("catalog.write_catalog", "catalog.write_regions", "catalog.source_catalog")
@given(instances(), st.sampled_from([".fits", ".ecsv"]))
@fewer
def test_catalogs_come_back(tmp_path, sources, ending):
    assume(len(sources))
    catalog = source_catalog(sources, np.ones(sources.shape))
    path = write_catalog(tmp_path / f"catalog{ending}", catalog, overwrite=True)
    back = QTable.read(path)
    assert back.colnames == catalog.colnames and len(back) == len(sources)
    np.testing.assert_allclose(np.ravel(back["flux"]), sources.areas)
    text = write_regions(tmp_path / "sources.reg", catalog, overwrite=True).read_text()
    assert sum(line.startswith("ellipse") for line in text.splitlines()) == len(sources)


@covers("mosaic.segment_mosaic")
@given(st.integers(0, 10**6), st.integers(60, 130), st.booleans())
@fewer
def test_tiles_do_not_show(seed, tile_size, deblend):
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (110, 150))
    for y, x in rng.integers(0, (110, 150), (12, 2)):
        image[y : y + 6, x : x + 9] += 15
    segmenter = PhotutilsSegmenter(deblend=deblend, n_sigma=3, box_size=20)
    whole = segmenter.predict(image[None])[0]
    np.testing.assert_array_equal(
        segment_mosaic(segmenter, image, tile_size=tile_size, progress=False) > 0, whole > 0
    )


@covers("preprocessing.augment")
@given(
    st.integers(0, 1000),
    st.integers(1, 3),
    st.sampled_from(["flip", "rotate", "affine", "brightness", "noise"]),
)
@fewer
def test_copies_are_of_the_same_kind(seed, n, kind):
    X, y = make_images(2, shape=(48, 48), random_state=seed % 5)
    copies, truth = augment(X, y, n, kinds=kind, random_state=seed)
    again, _ = augment(X, y, n, kinds=kind, random_state=seed)
    np.testing.assert_array_equal(copies, again)
    assert (
        copies.shape == (2 * n, 48, 48) == truth.shape
        and copies.dtype == X.dtype
        and truth.dtype == np.int32
    )
    if kind == "flip":
        assert [np.sort(copy.ravel()).tolist() for copy in copies[:n]] == [
            np.sort(X[0].ravel()).tolist()
        ] * n
    if kind in ("brightness", "noise"):
        np.testing.assert_array_equal(truth, np.repeat(y, n, axis=0))


@covers("display.SegmentationDisplay")
@given(label_maps(), st.booleans(), st.sampled_from([None, 1, 3]))
@fewer
def test_anything_can_be_shown(labels, with_truth, bands):
    import matplotlib.pyplot as plt

    image = None if bands is None else np.full((bands, *labels.shape), 3.0)
    shown = SegmentationDisplay.from_predictions(
        labels if with_truth else None, labels, image=image
    )
    shown.figure_.canvas.draw()
    assert len(np.ravel(shown.axes_)) >= 1
    plt.close(shown.figure_)


@covers("datasets.write_field")
@given(st.integers(0, 10**6), st.tuples(st.integers(40, 70), st.integers(40, 70)))
@fewer
def test_simulated_files_hold_what_they_say(tmp_path, seed, shape):
    pytest.importorskip("galsim")
    paths = [tmp_path / name for name in ("one.fits", "two.fits")]
    for path in paths:
        write_field(path, shape, random_state=seed, overwrite=True, progress=False)
    first, second = map(read_field, paths)
    assert first.shape == shape and np.isfinite(first.image).all()
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)


WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "segment",
                "evaluate",
                "--output",
                "--set",
                "--hdu",
                "-1",
                "--tile-size",
                "--help",
                "--",
                "=",
            ]
        ),
        st.sampled_from(
            ["nothing.fits", "labels.fits", "--method", "--iou", "nan", "n_sigma=x", "--n-jobs"]
        ),
        st.text(max_size=4),
    ),
    max_size=5,
)


@covers("cli.main")
@given(WORDS)
@few
def test_no_arguments_show_a_traceback(tmp_path, words):
    write_label_map(tmp_path / "labels.fits", [[0, 1], [2, 2]], overwrite=True)
    words = [word for word in words if word not in ("demo", "simulate", "train")]
    err = io.StringIO()
    with (
        contextlib.chdir(tmp_path),
        contextlib.redirect_stderr(err),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                status = main(words)
        except SystemExit as stop:
            status = stop.code
    assert status in (0, 1, 2) and "Traceback" not in err.getvalue()
    assert status == 0 or "error" in err.getvalue()
    for made in tmp_path.glob("*_segmentation.fits"):
        made.unlink()


@covers("testing.estimator_checks")
@given(st.integers(0, 100), st.tuples(st.integers(41, 52), st.integers(41, 52)))
@fewer
def test_checks_pass_on_any_images(seed, shape):
    X, y = make_images(3, shape=shape, random_state=seed)
    checks = estimator_checks(GaussianSmoother(), X, y)
    assert len(dict(checks)) == len(checks) > 20
    for _, check in checks:
        check()

"""What `galaxysegment segment` measures for its catalog."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

from galaxysegment import UNetSegmenter
from galaxysegment.base import BaseSegmenter
from galaxysegment.catalog import source_catalog
from galaxysegment.cli import _segment, main
from galaxysegment.io import read_panoptic_map
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.persistence import save
from galaxysegment.structures import GALAXY, STAR, Instances
from galaxysegment.testing import make_images


def test_the_catalog_holds_what_was_asked_for(tmp_path, capsys):
    X, _ = make_images(n_images=1, shape=(128, 128))
    header = fits.Header({"MAGZERO": 26.0})
    fits.writeto(tmp_path / "image.fits", X[0], header)
    fits.writeto(tmp_path / "rms.fits", np.full(X[0].shape, X[0].std() / 5))
    catalog = tmp_path / "sources.ecsv"
    words = [
        "segment",
        tmp_path / "image.fits",
        "--rms",
        tmp_path / "rms.fits",
        "--catalog",
        catalog,
    ]
    words += ["--measure", "total", "half-light", "--apertures", "3", "4.5", "--flux-unit", "uJy"]
    assert main([str(word) for word in words]) == 0
    table = QTable.read(catalog)
    expected = {"flux_kron", "flux_total", "half_light_radius", "flux_aperture_4_5", "flags"}
    assert expected <= set(table.colnames)
    assert str(table["flux_kron"].unit) == "uJy"
    assert "magnitude_kron" in table.colnames
    words[1] = tmp_path / "other.fits"
    fits.writeto(words[1], X[0])
    assert main([str(word) for word in [*words, "--overwrite"]]) == 1
    assert "The header has no zero point" in capsys.readouterr().err


def test_the_zero_point_of_the_header_is_taken_where_it_is_asked_for(tmp_path, capsys):
    X, _ = make_images(n_images=1, shape=(128, 128))
    known, unknown, catalog = (tmp_path / name for name in ("a.fits", "b.fits", "c.ecsv"))
    fits.writeto(known, X[0], fits.Header({"MAGZERO": 26.0}))
    fits.writeto(unknown, X[0])
    words = ["--catalog", str(catalog), "--zero-point", "header"]
    assert main(["segment", str(unknown), *words]) == 1
    assert "The header has no zero point" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [known, unknown]  # refused before work starts
    assert main(["segment", str(known), *words]) == 0
    table = QTable.read(catalog)
    expected = 26 - 2.5 * np.log10(table["flux"])
    np.testing.assert_allclose(table["magnitude"].value, expected, atol=1e-6)
    labels = str(tmp_path / "a_segmentation.fits")
    again = ["--image", str(known), "-o", str(tmp_path / "again.ecsv"), "--zero-point", "header"]
    assert main(["catalog", labels, *again]) == 0
    assert (QTable.read(tmp_path / "again.ecsv")["magnitude"] == table["magnitude"]).all()
    with pytest.raises(SystemExit):
        main(["catalog", labels, *again[:-1], "head"])
    assert "'head' is neither a number nor 'header'" in capsys.readouterr().err


def test_the_catalog_holds_classes_that_a_net_tells_apart(tmp_path):
    rows, columns = np.indices((64, 64))
    image = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    labels = np.zeros((64, 64), dtype=np.int32)
    for label, (row, column, width) in enumerate(((16, 16, 5), (44, 20, 1.5), (36, 46, 5)), 1):
        light = 40 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
        image += light
        labels[light > 2] = label
    truth = Instances.from_label_map(labels, classes=[GALAXY, STAR, GALAXY])
    unet = UNetSegmenter(
        classes=(GALAXY, STAR),
        base_width=6,
        depth=3,
        dropout=0,
        max_epochs=60,
        lr=0.01,
        validation_fraction=0,
        random_state=0,
    )
    save(unet.fit([image], [truth]), tmp_path / "unet.safetensors")
    fits.writeto(tmp_path / "image.fits", image)
    catalog = tmp_path / "sources.ecsv"
    words = ["segment", tmp_path / "image.fits", "--model", tmp_path / "unet.safetensors"]
    assert main([str(word) for word in [*words, "--catalog", catalog]]) == 0
    table = QTable.read(catalog)
    x, kind = np.asarray(table["x"]), np.asarray(table["class"])
    assert kind.tolist() == [STAR if abs(value - 20) < 3 else GALAXY for value in x]
    assert sorted(kind) == [GALAXY, GALAXY, STAR]
    tiled = [*words, "--catalog", tmp_path / "tiled.ecsv", "--output", tmp_path / "tiled.fits"]
    assert main([str(word) for word in [*tiled, "--tile-size", 64]]) == 0
    of_tiles = QTable.read(tmp_path / "tiled.ecsv")
    assert of_tiles["class"].tolist() == kind.tolist()
    np.testing.assert_allclose(of_tiles["score"], table["score"], rtol=1e-4)
    written = fits.getdata(tmp_path / "image_segmentation.fits")
    np.testing.assert_array_equal(written, unet.predict([image])[0])


def test_a_hidden_source_has_no_row_in_the_catalog(tmp_path, monkeypatch):
    boxes, crops = [[10, 10, 20, 20], [12, 12, 15, 15], [30, 30, 40, 40]], []
    for y0, x0, y1, x1 in boxes:
        crops.append(np.ones((y1 - y0, x1 - x0), dtype=bool))
    sources = Instances((64, 64), boxes, crops, [0.9, 0.1, 0.8], [GALAXY, GALAXY, STAR])
    monkeypatch.setattr(_segment, "segment_field", lambda *_, **__: sources)
    fits.writeto(tmp_path / "image.fits", np.random.default_rng(0).normal(size=(64, 64)))
    words = ["segment", tmp_path / "image.fits", "--catalog", tmp_path / "sources.ecsv"]
    assert main([str(word) for word in words]) == 0
    table = QTable.read(tmp_path / "sources.ecsv")
    assert table["label"].tolist() == [1, 2] and table["class"].tolist() == [GALAXY, STAR]
    assert table["score"].tolist() == [0.9, 0.8]


class Overlapping(BaseSegmenter):
    """Finds a square at each pixel that is not 0, and a small square that it hides."""

    _requires_fit = False
    finds_instances, reach = True, 16

    def _segment_image(self, image):
        boxes, crops, scores, classes = [], [], [], []
        for y, x in np.argwhere(image[0]).tolist():
            score = image[0, y, x]
            for size, own in ((6, score), (2, score / 2)):
                boxes.append([y, x, y + size, x + size])
                crops.append(np.ones((size, size), dtype=bool))
                scores.append(own)
                classes.append(GALAXY if own > 0.85 else STAR)
        return Instances(image.shape[1:], boxes, crops, scores, classes)


def test_classes_and_scores_of_overlapping_sources_are_in_the_catalog_of_tiles(tmp_path):
    image = np.zeros((90, 100))
    image[20, 30], image[60, 70] = 0.875, 0.75
    segment_mosaic(
        Overlapping(),
        image,
        output=tmp_path / "labels.fits",
        tile_size=48,
        overlap=32,
        progress=False,
    )
    table = source_catalog(tmp_path / "labels.fits", np.ones(image.shape))
    assert table["label"].tolist() == [1, 2] and table["class"].tolist() == [GALAXY, STAR]
    assert table["score"].tolist() == [0.875, 0.75]


def test_scores_do_not_depend_on_tiles(tmp_path):
    X, _ = make_images(n_images=1, shape=(128, 128))
    fits.writeto(tmp_path / "image.fits", X[0])
    words = ["segment", tmp_path / "image.fits", "--method", "photutils", "--catalog"]
    more = [[], ["--tile-size", 80, "--overwrite"]]
    catalogs = [tmp_path / "whole.ecsv", tmp_path / "tiles.ecsv"]
    for catalog, options in zip(catalogs, more, strict=True):
        assert main([str(word) for word in [*words, catalog, *options]]) == 0
    whole, tiles = (QTable.read(catalog) for catalog in catalogs)
    assert whole.colnames == tiles.colnames and "score" in tiles.colnames
    order = [np.argsort(table["flux"]) for table in (whole, tiles)]
    np.testing.assert_allclose(whole["score"][order[0]], tiles["score"][order[1]], rtol=1e-4)


def test_measurements_that_need_the_noise_are_refused_before_work_starts(tmp_path, capsys):
    X, _ = make_images(n_images=1)
    fits.writeto(tmp_path / "image.fits", X[0])
    words = ["--measure", "stars", "--catalog", str(tmp_path / "sources.fits")]
    for command in ("segment", "separate"):
        assert main([command, str(tmp_path / "image.fits"), *words]) == 1
        assert "--measure stars needs the noise of each pixel" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["image.fits"]


def test_panoptic_maps_and_catalogs_come_from_one_prediction(tmp_path, monkeypatch):
    X, _ = make_images(n_images=1, shape=(128, 128))
    fits.writeto(tmp_path / "image.fits", X[0])
    calls = []

    def count(self, images, *, scored=False):
        calls.append(scored)
        return find(self, images, scored=scored)

    find = BaseSegmenter._find_sources
    monkeypatch.setattr(BaseSegmenter, "_find_sources", count)
    words = ["--kind", "panoptic", "--method", "unet", "--set", "weights=sky", "--overwrite"]
    words += ["--set", "n_views=1", "--catalog", str(tmp_path / "sources.fits")]
    assert main(["segment", str(tmp_path / "image.fits"), *words]) == 0
    assert calls == [True]
    unet = UNetSegmenter(weights="sky", n_views=1)
    (expected,) = unet.predict(X, output="panoptic")
    path = tmp_path / "image_segmentation.fits"
    np.testing.assert_array_equal(read_panoptic_map(path), expected)
    (sources,) = unet.predict(X, output="instances")
    catalog = QTable.read(tmp_path / "sources.fits")
    np.testing.assert_array_equal(catalog["class"], sources.classes)
    np.testing.assert_allclose(catalog["score"], sources.scores)

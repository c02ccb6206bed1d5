"""Files, extensions, RMS maps and masks, as the options give them."""

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.cli import main
from galaxysegment.cli._inputs import _parse_bits, parse_hdus
from galaxysegment.testing import make_images

X, Y = make_images(n_images=1, shape=(96, 96))
OPTIONS = ["--set", "n_sigma=4", "--set", "box_size=32", "--overwrite"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an image and a data quality map: bit 1 on the left, bit 2 at the top."""
    flags = np.zeros(X[0].shape, np.int16)
    flags[:, :19] |= 1
    flags[:25] |= 2
    fits.writeto(tmp_path / "image.fits", X[0])
    fits.writeto(tmp_path / "flags.fits", flags)
    fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU(X[0], name="SCI"), fits.ImageHDU(flags, name="DQ")]
    ).writeto(tmp_path / "both.fits")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segment(*arguments):
    assert main(["segment", *arguments, *OPTIONS, "--output", "labels.fits"]) == 0
    return fits.getdata("labels.fits")


@pytest.mark.parametrize("tiles", [[], ["--tile-size", "50"]])
@pytest.mark.parametrize(
    ("options", "bits"),
    [
        (["image.fits", "--mask", "flags.fits"], 3),
        (["image.fits", "--mask", "flags.fits", "--mask-bits", "1"], 1),
        (["both.fits", "--hdu", "SCI", "--mask-hdu", "DQ", "--mask-bits", "~1"], 2),
        (["both.fits", "--mask-hdu", "DQ", "--mask-bits", "1,2"], 3),
    ],
)
def test_masked_pixels_belong_to_no_source(folder, options, bits, tiles):
    masked = (fits.getdata("flags.fits") & bits) > 0
    labels = segment(*options, *tiles)
    assert labels[~masked].any() and not labels[masked].any()
    assert segment("image.fits", *tiles)[masked].any()


def test_the_mask_of_the_file_counts_unless_it_is_refused(folder):
    with fits.open("both.fits", mode="update") as opened:
        opened["DQ"].name = "MASK"
    masked = fits.getdata("flags.fits") > 0
    assert not segment("both.fits")[masked].any()
    assert segment("both.fits", "--no-mask")[masked].any()


def test_a_mask_in_the_catalog(folder):
    segment("image.fits", "--mask", "flags.fits", "--catalog", "catalog.ecsv")
    from astropy.table import QTable

    table = QTable.read("catalog.ecsv")
    assert len(table) == fits.getdata("labels.fits").max()
    assert (table["x_min"] >= 19).all() and (table["y_min"] >= 25).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["image.fits", "--mask", "image.fits", "--mask-bits", "1"], "--mask-bits"),
        (["image.fits", "--mask-bits", "1"], "say which extension or file holds it"),
        (["image.fits", "--mask", "flags.fits", "--output", "flags.fits"], "same file as --mask"),
        (["image.fits", "--method", "kmeans", "--label-bridge"], "pass --bridge PIXELS too"),
        (["image.fits", "--no-mask", "--mask", "flags.fits"], "leave out the other options"),
    ],
)
def test_errors_speak_of_options(folder, capsys, arguments, words):
    before = (folder / "flags.fits").read_bytes()
    assert main(["segment", *arguments, "--overwrite"]) == 1
    assert words in capsys.readouterr().err
    assert (folder / "flags.fits").read_bytes() == before


def test_bits_and_extensions_as_typed(capsys):
    assert _parse_bits("1,4096") == _parse_bits("1+0x1000") == [1, 4096]
    assert _parse_bits("~4") == ~4
    assert parse_hdus(["SCI", "2"]) == ["SCI", 2] and parse_hdus(["SCI,2"]) == ("SCI", 2)
    with pytest.raises(SystemExit):
        main(["segment", "image.fits", "--mask-bits", "one"])
    assert "'one' is not a list of bits like 1,4096" in capsys.readouterr().err


def test_two_rms_maps_are_combined_alike_whole_and_in_tiles(folder):
    """Where one of two bands has no RMS, the whole image and a mosaic agree."""
    rng = np.random.default_rng(0)
    for name in "gr":
        fits.writeto(f"{name}.fits", (X[0] + rng.normal(0, 0.1, X[0].shape)).astype(np.float32))
        rms = np.full(X[0].shape, X[0].std() / 4, np.float32)
        if name == "g":
            rms[20:50, 20:50] = np.nan
        fits.writeto(f"{name}.rms.fits", rms)
    options = ["g.fits", "r.fits", "--rms", "g.rms.fits", "--rms", "r.rms.fits"]
    whole = segment(*options)
    assert whole.any()
    np.testing.assert_array_equal(segment(*options, "--tile-size", "50"), whole)


def test_a_method_without_rms_band_leaves_the_map_out(folder):
    fits.writeto("rms.fits", np.ones_like(X[0]))
    options = ["image.fits", "--method", "kmeans", "--set", "random_state=0", "--overwrite"]
    results = []
    for extra in ([], ["--rms", "rms.fits"]):
        assert main(["segment", *options, *extra, "--output", "labels.fits"]) == 0
        results.append(fits.getdata("labels.fits"))
    np.testing.assert_array_equal(*results)


def test_limits_are_lifted_by_an_option(folder, capsys, monkeypatch):
    from galaxysegment.io import _limits

    monkeypatch.setattr(_limits, "MOST_HDUS", 1)
    assert main(["segment", "both.fits", *OPTIONS, "--output", "labels.fits"]) == 1
    assert "more than 1 HDUs: pass --no-limits if you trust" in capsys.readouterr().err
    assert segment("both.fits", "--no-limits").any()


def test_training_leaves_masked_pixels_out(tmp_path, monkeypatch):
    from galaxysegment.cli import _train

    flags = np.zeros(X[0].shape, np.int16)
    flags[:32] = 4
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(X[0], name="SCI"), fits.ImageHDU(flags, name="DQ")]
    hdus.append(fits.ImageHDU(Y[0].astype(np.int16), name="LABELS"))
    fits.HDUList(hdus).writeto(tmp_path / "field.fits")
    seen = []
    monkeypatch.setattr(_train, "_fit", lambda *given: seen.append(given[1]))
    monkeypatch.setattr("galaxysegment.persistence.save", lambda *_: None)
    command = [
        "train",
        str(tmp_path / "field.fits"),
        "--output",
        str(tmp_path / "m"),
        "--patch-size",
        "96",
    ]
    for options, n_masked in (
        ([], 0),
        (["--mask-hdu", "DQ"], 32 * 96),
        (["--mask-bits", "1"], None),
    ):
        if n_masked is None:
            assert main([*command, *options]) == 1
            assert main([*command, "--mask-hdu", "DQ", *options]) == 0
        else:
            assert main([*command, *options]) == 0
            assert np.isnan(seen[-1]).sum() == n_masked
    assert not np.isnan(seen[-1]).any()


def test_a_star_is_whole_across_dead_columns(folder):
    """Three dead columns cut a star in two without a bridge; by default it is one source."""
    rows, columns = np.indices((96, 96))
    star = 500 * np.exp(-((rows - 48) ** 2 + (columns - 48) ** 2) / 60)
    image = np.random.default_rng(0).normal(0, 1, (96, 96)) + star
    dead = np.zeros((96, 96), np.int16)
    dead[:, 47:50] = 1
    fits.writeto("star.fits", image.astype(np.float32))
    fits.writeto("dead.fits", dead)
    options = ["star.fits", "--mask", "dead.fits"]
    assert segment(*options, "--bridge", "0").max() == 2
    assert segment(*options).max() == 1
    for tiles in ([], ["--tile-size", "60"]):
        bridged = segment(*options, "--bridge", "4", *tiles)
        assert bridged.max() == 1 and not bridged[dead > 0].any()
        labelled = segment(*options, "--bridge", "4", "--label-bridge", *tiles)
        np.testing.assert_array_equal(segment(*options, "--label-bridge", *tiles), labelled)
        assert labelled[48, 47:50].tolist() == [1, 1, 1]


def test_bridging_of_a_model_and_of_a_method_that_cannot(folder, capsys):
    from sklearn.pipeline import make_pipeline

    from galaxysegment import PhotutilsSegmenter
    from galaxysegment.cli._choose import bridge_gaps

    pipeline = make_pipeline(PhotutilsSegmenter())
    bridge_gaps(pipeline, 3, label=True)
    assert pipeline[-1].bridge == 3 and pipeline[-1].label_bridge
    bridge_gaps(pipeline, None, label=False)
    assert pipeline[-1].bridge == 3
    assert main(["segment", "image.fits", "--bridge", "-1", "--output", "o.fits"]) == 1
    assert "bridge" in capsys.readouterr().err

"""`separate` writes an image of each source alone, which lies where the source is on the sky."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from galaxysegment.cli import _separate, main
from galaxysegment.io import read_separated

HEIGHT, WIDTH = 90, 110
CENTRES, FLUXES, LABELS = [(40, 44), (40, 56), (70, 90)], [9000.0, 4000.0, 3000.0], [3, 7, 8]
SKY = 12.0
HDU = "image_parts.fits", "RESIDUAL"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with a blend of two galaxies, a third galaxy, and their label map."""
    y, x = np.indices((HEIGHT, WIDTH))
    galaxies = [
        flux * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 24) / (24 * np.pi)
        for (row, column), flux in zip(CENTRES, FLUXES, strict=True)
    ]
    noise = np.random.default_rng(0).normal(0, 0.5, (HEIGHT, WIDTH))
    nearest = np.argmax(galaxies, axis=0)
    labels = np.where(np.sum(galaxies, axis=0) > 1, np.array(LABELS)[nearest], 0)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 2.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [30.0, 20.0], [-1e-4, 1e-4]
    header = wcs.to_header()
    header["BUNIT"] = "adu"
    image = (np.sum(galaxies, axis=0) + noise).astype(np.float32)
    fits.writeto(tmp_path / "image.fits", image + np.float32(SKY), header)
    fits.writeto(tmp_path / "other.fits", 2 * image + np.float32(SKY), header)
    fits.writeto(tmp_path / "rms.fits", np.full((HEIGHT, WIDTH), 0.5, np.float32))
    fits.writeto(tmp_path / "labels.fits", labels.astype(np.int32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def separate(options):
    return main(["separate", *options.split()])


def add_up(shape, hdus):
    total = np.zeros(shape)
    for hdu in hdus[1:]:
        y0, x0 = hdu.header["YMIN"], hdu.header["XMIN"]
        total[..., y0 : y0 + hdu.shape[-2], x0 : x0 + hdu.shape[-1]] += hdu.data
    return total


def test_parts_lie_where_the_sources_are(folder, capsys):
    assert separate("image.fits labels.fits --rms rms.fits") == 0
    assert "3 sources separated: wrote image_parts.fits" in capsys.readouterr().out
    sky = WCS(fits.getheader("image.fits"))
    with fits.open("image_parts.fits") as hdus:
        assert hdus[0].header["NSOURCES"] == 3 and hdus[0].header["SEPCLASS"] == "TemplateSeparator"
        for label, (row, column), flux in zip(LABELS, CENTRES, FLUXES, strict=True):
            hdu = hdus["SOURCE", label]
            assert hdu.header["LABEL"] == label and hdu.header["BUNIT"] == "adu"
            peak = np.unravel_index(np.argmax(hdu.data), hdu.shape)
            assert (
                np.hypot(peak[0] + hdu.header["YMIN"] - row, peak[1] + hdu.header["XMIN"] - column)
                < 1.5
            )
            y, x = np.indices(hdu.shape)
            centre = [np.sum(axis * hdu.data) / np.sum(hdu.data) for axis in (x, y)]
            own, true = WCS(hdu.header).pixel_to_world(*centre), sky.pixel_to_world(column, row)
            assert own.separation(true).arcsec < 0.36 * 0.5  # half a pixel
            assert hdu.header["FLUX"] == pytest.approx(hdu.data.sum(), rel=1e-4)
            assert hdu.header["FLUX"] == pytest.approx(flux, rel=0.05)
            assert 0 < hdu.header["FERR"] < 100
        blended = [hdu.header["BLEND"] for hdu in hdus[1:]]
        assert blended[0] > blended[2] + 0.01 and blended[1] > blended[0] and blended[2] < 0.01


@pytest.mark.filterwarnings("ignore::galaxysegment.exceptions.UnsubtractedSkyWarning")
@pytest.mark.parametrize(
    ("background", "ending"), [("none", "fits"), ("mesh", "fits.gz"), ("mesh", "fits.fz")]
)
def test_parts_and_residual_and_background_add_up_to_the_image(folder, background, ending):
    options = f"--output p.{ending} --residual r.{ending} --background {background}"
    assert separate(f"image.fits labels.fits {options}") == 0
    image = fits.getdata("image.fits")
    with fits.open(f"p.{ending}") as parts, fits.open(f"r.{ending}") as residual:
        total = add_up(image.shape, parts) + residual["RESIDUAL"].data
        assert WCS(residual["RESIDUAL"].header).wcs.crval.tolist() == [150.0, 2.0]
        assert ("BACKGROUND" in residual) == (background == "mesh")
        if background == "mesh":
            assert np.median(residual["BACKGROUND"].data) == pytest.approx(SKY, abs=0.5)
            total += residual["BACKGROUND"].data
        assert parts[0].header["BACKSUB"] == background
    np.testing.assert_allclose(total, image, atol=1e-3)


def test_a_method_finds_the_sources_and_a_catalog_has_the_labels(folder):
    finds = "--rms rms.fits --method sep --set deblend=True --zero-point 25 --catalog c.ecsv"
    assert separate(f"image.fits {finds}") == 0
    catalog = Table.read("c.ecsv")
    with fits.open("image_parts.fits") as hdus:
        assert [hdu.header["LABEL"] for hdu in hdus[1:]] == list(catalog["label"]) == [1, 2, 3]
        fluxes = [hdu.header["FLUX"] for hdu in hdus[1:]]
    np.testing.assert_allclose(catalog["flux_separated"], fluxes, rtol=1e-6)
    np.testing.assert_allclose(sorted(fluxes), sorted(FLUXES), rtol=0.1)
    assert separate("image.fits labels.fits --catalog c.ecsv --overwrite") == 0
    assert list(Table.read("c.ecsv")["label"]) == LABELS


@pytest.mark.filterwarnings("ignore::galaxysegment.exceptions.UnsubtractedSkyWarning")
def test_bands_share_their_sources(folder):
    options = "--rms rms.fits --background none --residual r.fits"
    assert separate(f"image.fits labels.fits --band other.fits {options}") == 0
    images = np.stack([fits.getdata("image.fits"), fits.getdata("other.fits")])
    with fits.open("image_parts.fits") as parts, fits.open("r.fits") as residual:
        assert parts[1].shape[0] == 2 and "FLUX" not in parts[1].header
        header = parts["SOURCE", 8].header
        np.testing.assert_allclose(
            [header["FLUX_1"], header["FLUX_2"]], parts["SOURCE", 8].data.sum((1, 2)), rtol=1e-4
        )
        np.testing.assert_allclose(
            add_up(images.shape, parts) + residual[1].data, images, atol=1e-3
        )


def test_masked_pixels_belong_to_nobody(folder):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[40, 50:60] = 1
    fits.writeto("mask.fits", mask)
    assert separate("image.fits labels.fits --mask mask.fits --residual r.fits") == 0
    with fits.open("image_parts.fits") as parts, fits.open("r.fits") as residual:
        assert np.isnan(residual[1].data[mask > 0]).all()
        assert not add_up(mask.shape, parts)[mask > 0].any()


def test_companions_get_labels_of_their_own(folder):
    together = fits.getdata("labels.fits")
    together[together == 7] = 3
    fits.writeto("together.fits", together)
    options = "--rms rms.fits --set-separator find_companions=True --catalog c.ecsv"
    assert separate(f"image.fits together.fits {options}") == 0
    with fits.open("image_parts.fits") as hdus:
        assert [hdu.header["LABEL"] for hdu in hdus[1:]] == [3, 8, 9]
        assert hdus["SOURCE", 9].header["FLUX"] == pytest.approx(FLUXES[1], rel=0.1)
    assert list(Table.read("c.ecsv")["label"]) == [3, 8, 9]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("image.fits labels.fits --output labels.fits --overwrite", "is the same file as labels"),
        ("image.fits --band other.fits --output other.fits --overwrite", "same file as image"),
        ("image.fits --output p.fits --residual p.fits", "is the same file as --output"),
        ("image.fits --output p.txt", "--output must end in .fits"),
        ("image.fits --output rms.fits", "pass --overwrite"),
        ("image.fits labels.fits --method sep", "--method is about finding sources"),
        ("image.fits labels.fits --set n_sigma=3", "--set is about finding sources"),
        ("image.fits --labels-hdu 1", "--labels-hdu is about a label map"),
        ("image.fits --separator magic", "--separator must be one of template"),
        ("image.fits --set-separator grow=1", "--set-separator takes NAME=VALUE"),
        ("image.fits --set-separator growth=-1", "growth"),
        ("image.fits small.fits", "5 x 6 pixels, but the image has 90 x 110"),
    ],
)
def test_refusals_write_nothing(folder, capsys, options, words):
    fits.writeto("small.fits", np.ones((5, 6), np.int32))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert separate(options) == 1
    assert words in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "value", "options", "words"),
    [
        ("LARGEST_SIDE", 50, "labels.fits --residual r.fits", "--residual is not written"),
        ("_MOST_SOURCES", 2, "labels.fits", "at most 2"),
    ],
)
def test_too_much_for_one_file_is_refused_before_the_work(
    folder, capsys, monkeypatch, name, value, options, words
):
    monkeypatch.setattr(_separate, name, value)
    monkeypatch.setattr(_separate, "_subtract", lambda *_: pytest.fail("the work has begun"))
    assert separate(f"image.fits {options}") == 1
    assert words in capsys.readouterr().err and not (folder / "image_parts.fits").exists()


@pytest.mark.parametrize("options", ["--tile-size 40 --parts", "--n-jobs 2 --parts", "--resume"])
def test_in_tiles_a_table_holds_the_fluxes(folder, capsys, options):
    assert separate(f"image.fits labels.fits --rms rms.fits {options}") == 0
    assert "Separated in tiles: wrote image_parts.fits" in capsys.readouterr().out
    table = Table.read("image_parts.fits", hdu="SEPARATED")
    assert table["LABEL"].tolist() == LABELS
    assert table["FLUX"] == pytest.approx(FLUXES, rel=0.05)
    assert table["BLEND"].tolist() == [1, 1, 2]
    assert ("PART" in table.colnames) == ("--parts" in options)
    if "--parts" in options:
        assert len(read_separated("image_parts.fits")) == 3
        sky, residual = (WCS(fits.getheader(*which)) for which in (("image.fits",), HDU))
        assert np.allclose(sky.wcs.crval, residual.wcs.crval)


@pytest.mark.parametrize("method", ["photutils", "kmeans"])
def test_tiles_find_their_sources(folder, capsys, method):
    options = f"image.fits --rms rms.fits --method {method} --set deblend=True --tile-size 60"
    assert separate(f"{options} --set-separator n_iterations=8") == 0
    assert "Separated in tiles: wrote image_parts.fits" in capsys.readouterr().out
    table = Table.read("image_parts.fits", hdu="SEPARATED")
    if method == "photutils":
        assert sorted(table["FLUX"]) == pytest.approx(sorted(FLUXES), rel=0.1)
    assert len(table) >= 2 and not list(folder.glob(".*unfinished*"))


def test_the_catalog_of_light_measures_more(folder):
    options = "--measure kron half-light --apertures 3 --flux-unit uJy --zero-point 27"
    assert separate(f"image.fits labels.fits --rms rms.fits --catalog c.ecsv {options}") == 0
    catalog = Table.read("c.ecsv")
    assert {"flux_kron", "half_light_radius", "flux_separated"} <= set(catalog.colnames)
    assert separate("image.fits labels.fits --measure kron --overwrite") == 1


@pytest.mark.filterwarnings("default")
def test_a_large_image_goes_in_tiles_by_itself(folder, monkeypatch, capsys):
    monkeypatch.setattr(_separate, "LARGEST_SIDE", 50)
    assert separate("image.fits labels.fits --background none") == 0
    assert "UnsubtractedSkyWarning: The sky of band 0 is at 12" in capsys.readouterr().err
    assert len(Table.read("image_parts.fits", hdu="SEPARATED")) == 3


def test_a_file_that_cannot_be_finished_leaves_nothing(folder, monkeypatch):
    def stop(hdus, file, **_):
        file.write(b"SIMPLE")
        raise OSError("No space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", stop)
    before = sorted(folder.iterdir())
    assert separate("image.fits labels.fits") == 1
    assert sorted(folder.iterdir()) == before


def test_an_image_without_sources(folder):
    fits.writeto("none.fits", np.zeros((HEIGHT, WIDTH), np.int32))
    assert separate("image.fits none.fits --catalog c.ecsv") == 0
    with fits.open("image_parts.fits") as hdus:
        assert len(hdus) == 1 and hdus[0].header["NSOURCES"] == 0
    assert len(Table.read("c.ecsv")) == 0


def test_separators_are_listed(capsys):
    assert main(["methods"]) == 0
    printed = capsys.readouterr().out
    assert "\nseparator " in printed and "\ntemplate " in printed
    assert main(["methods", "template"]) == 0
    printed = capsys.readouterr().out
    assert "find_companions=False" in printed
    assert "galaxysegment separate IMAGE --separator template --set-separator" in printed

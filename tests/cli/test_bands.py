"""`segment --bands`: which bands are worked on, by number and by name."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from galaxysegment.cli import main
from galaxysegment.io import read_label_map

SHAPE = (60, 60)
SPOTS = {"g": (15, 15), "r": (15, 45), "z": (45, 30)}
OPTIONS = ["--set", "n_sigma=5", "--set", "box_size=20", "--overwrite", "--output", "out.fits"]


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """g.fits, r.fits, z.fits and a cube of them; each band has a source at a place of its own."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(SHAPE)
    planes = []
    for name, (y, x) in SPOTS.items():
        plane = 200 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 30)
        planes.append((plane + rng.normal(size=SHAPE)).astype(np.float32))
        fits.writeto(tmp_path / f"m31_{name}.fits", planes[-1])
    header = fits.Header({"BANDS": "grz"})
    fits.writeto(tmp_path / "cube.fits", np.stack(planes), header)
    monkeypatch.chdir(tmp_path)


def sources(*arguments):
    """Bands whose source is in the label map."""
    assert main(["segment", *arguments, *OPTIONS]) == 0
    labels = read_label_map("out.fits")
    return "".join(name for name, spot in SPOTS.items() if labels[spot])


FILES = [f"m31_{name}.fits" for name in SPOTS]


@pytest.mark.parametrize("images", [["cube.fits"], FILES], ids=["cube", "files"])
@pytest.mark.parametrize(
    "choice, expected",
    [("1", "g"), ("2,3", "rz"), ("z", "z"), ("g, z", "gz"), ("z,g", "gz"), (None, "grz")],
)
def test_only_the_chosen_bands_are_searched(images, choice, expected):
    assert sources(*images, *([] if choice is None else ["--bands", choice])) == expected


def test_names_of_filters_and_files(tmp_path):
    for name, filter_name in zip(SPOTS, ("F606W", "F814W", "r.MP9601"), strict=True):
        fits.setval(tmp_path / f"m31_{name}.fits", "FILTER", value=filter_name)
    assert sources(*FILES, "--bands", "F814W") == "r"
    assert sources(*FILES, "--bands", "m31_z") == "z"
    assert sources(*FILES, "--bands", "MP9601") == "z"


def test_extensions_of_one_file():
    planes = fits.getdata("cube.fits")
    hdus = [
        fits.ImageHDU(plane, name=f"SCI_{name}") for plane, name in zip(planes, SPOTS, strict=True)
    ]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto("mef.fits")
    chosen = [word for name in SPOTS for word in ("--hdu", f"SCI_{name}")]
    assert sources("mef.fits", *chosen, "--bands", "SCI_R") == "r"


@pytest.mark.filterwarnings("ignore::galaxysegment.NoSourcesWarning")
def test_the_rms_maps_of_the_chosen_bands_are_used():
    rms = np.ones((3, *SHAPE), dtype=np.float32)
    rms[1] = 1000  # hides the source of the r band
    fits.writeto("rms.fits", rms)
    assert sources("cube.fits", "--rms", "rms.fits", "--bands", "r") == ""
    assert sources("cube.fits", "--rms", "rms.fits", "--bands", "g") == "g"


def test_tiles_see_the_same_bands():
    whole = read_label_map("out.fits") if sources("cube.fits", "--bands", "z,r") else None
    assert sources("cube.fits", "--bands", "z,r", "--tile-size", "40") == "rz"
    np.testing.assert_array_equal(read_label_map("out.fits") > 0, whole > 0)


def test_the_catalog_has_columns_of_the_named_bands():
    assert sources("cube.fits", "--bands", "z,g", "--catalog", "c.csv") == "gz"
    catalog = Table.read("c.csv")
    assert {"flux_z", "flux_g"} < set(catalog.colnames)
    brighter = catalog["flux_z"] > catalog["flux_g"]
    assert sorted(brighter) == [False, True]


def test_the_picture_knows_the_wavelengths_of_the_chosen_bands():
    from PIL import Image

    assert sources(*FILES, "--bands", "z,r,g", "--picture", "p.png") == "grz"
    picture = np.asarray(Image.open("p.png").convert("RGB")).astype(float)
    left = picture[:, : picture.shape[1] // 2]
    red = (left[..., 0] > 200) & (left[..., 2] < 100)
    blue = (left[..., 2] > 200) & (left[..., 0] < 100)
    assert np.nonzero(red)[0].mean() != pytest.approx(np.nonzero(blue)[0].mean(), abs=20)


@pytest.mark.parametrize(
    "choice, message",
    [
        ("i", r"no band is called 'i'. The bands are 1 (g); 2 (r); 3 (z)"),
        ("4", "--bands takes numbers from 1 to 3 here. Got 4 instead"),
        ("0", "--bands takes numbers from 1 to 3"),
        ("g,g", "--bands takes different bands"),
        (",", "--bands takes different bands"),
    ],
)
def test_unknown_bands_are_refused_before_any_work(choice, message, capsys, tmp_path):
    assert main(["segment", "cube.fits", "--bands", choice, *OPTIONS]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.fits").exists()

"""What a call of the catalog asks for reaches the reader and the photometry; limits of numbers."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from galaxysegment.catalog import (
    _morphology,
    _profiles,
    _table,
    ab_zero_point,
    morphology,
    profiles,
    source_catalog,
)
from galaxysegment.catalog._photometry import Apertures, check_apertures, number_name
from galaxysegment.catalog._units import _KEYWORDS
from galaxysegment.io import Field
from galaxysegment.io._windows import ArrayPixels

PLACES = {"mask": "m.fits", "hdu": "SCI", "mask_hdu": "DQ"}
WITH_RMS = PLACES | {"rms": "r.fits", "rms_hdu": 3}
MODULES = {source_catalog: _table, profiles: _profiles, morphology: _morphology}


class StopError(Exception):
    """Ends a call once all is known that was asked for."""


@pytest.fixture
def asked(monkeypatch):
    """What readers of the image and of the sources were asked for, and the apertures."""
    asked = {}

    def open_pixels(image, rms, **options):
        asked.update(options, image=image, rms=rms)
        return ArrayPixels(np.ones((1, 9, 9)), np.ones((9, 9)))

    def open_sources(sources, labels_hdu, pixels):
        asked.update(sources=sources, labels_hdu=labels_hdu)
        raise StopError

    monkeypatch.setattr(_table, "read_scores", lambda *_: None)
    monkeypatch.setattr(_table, "read_map_classes", lambda *_: None)
    for module in MODULES.values():
        monkeypatch.setattr(module, "open_pixels", open_pixels)
        monkeypatch.setattr(module, "open_sources", open_sources)
    monkeypatch.setattr(_morphology, "chosen_rows", lambda _, labels: asked.update(labels=labels))
    monkeypatch.setattr(
        _morphology,
        "source_catalog",
        lambda *first, **rest: asked.update(catalog=(first, rest)) or {"label": None},
    )
    for module in (_table, _profiles):
        check = module.check_apertures

        def note(*first, check=check, **rest):
            asked["apertures"] = check(*first, **rest)
            return asked["apertures"]

        monkeypatch.setattr(module, "check_apertures", note)
    return asked


def test_source_catalog_hands_everything_on(asked):
    kinds = {"rms_kind": "variance", "mask_bits": (1, 4)}
    options = WITH_RMS | kinds | {"labels_hdu": "LAB", "kron": (2.0, 1.0), "apertures": 3}
    options |= {"ellipses": [2, 4], "light_fractions": 0.8, "total": True, "noise_factor": 1.5}
    options |= {"local_background": 12, "neighbours": "mask", "n_jobs": 3}
    options |= {"star_probability": True}
    with pytest.raises(StopError):
        source_catalog("labels.fits", "image.fits", **options)
    wanted, settings = vars(asked.pop("apertures")), {"mode": 1, "noise_factor": 1.5, "n_jobs": 3}
    settings |= {"kron": (2.0, 1.0, 0.0), "circles": (3.0,), "ellipses": (2.0, 4.0)}
    settings |= {"fractions": (0.8, 0.5), "adds_half": True, "total": True, "stars": True}
    settings |= {"local_background": 12.0}
    assert {name: wanted[name] for name in settings} == settings
    files = {"image": "image.fits", "sources": "labels.fits", "labels_hdu": "LAB"}
    assert asked == WITH_RMS | kinds | files


def test_source_catalog_has_the_defaults_of_its_documentation(asked):
    with pytest.raises(StopError):
        source_catalog("labels.fits", "image.fits")
    assert asked.pop("apertures") == Apertures()
    nothing = dict.fromkeys(("rms", "mask", "hdu", "rms_hdu", "mask_hdu", "labels_hdu"))
    nothing |= {"rms_kind": "rms", "mask_bits": None}
    assert asked == nothing | {"image": "image.fits", "sources": "labels.fits"}


def test_profiles_hand_everything_on(asked):
    options = WITH_RMS | {"labels_hdu": "LAB", "radii": [1, 3], "local_background": 12}
    options |= {"neighbours": "none", "noise_factor": 1.5, "n_jobs": 3}
    with pytest.raises(StopError):
        profiles("labels.fits", "image.fits", **options)
    wanted = Apertures(ellipses=(1.0, 3.0), local_background=12.0, mode=0, noise_factor=1.5)
    wanted.n_jobs, wanted.rings = 3, True
    assert asked.pop("apertures") == wanted
    files = {"image": "image.fits", "sources": "labels.fits", "labels_hdu": "LAB"}
    assert asked == WITH_RMS | files


def test_profiles_have_20_steps_up_to_8_semi_axes(asked):
    with pytest.raises(StopError):
        profiles("labels.fits", "image.fits")
    wanted = asked.pop("apertures")
    np.testing.assert_allclose(wanted.ellipses, 0.4 * np.arange(1, 21))
    assert (wanted.mode, wanted.kron, wanted.total, wanted.stars) == (1, None, False, False)
    assert (wanted.local_background, wanted.noise_factor, wanted.n_jobs) == (0, 1, None)
    nothing = dict.fromkeys(("rms", "mask", "hdu", "rms_hdu", "mask_hdu", "labels_hdu"))
    assert asked == nothing | {"image": "image.fits", "sources": "labels.fits"}


def test_morphology_hands_everything_on(asked):
    options = PLACES | {"labels_hdu": "LAB", "background": 3.0}
    with pytest.raises(StopError):
        morphology("labels.fits", "image.fits", labels=[4], **options)
    first, rest = asked.pop("catalog")
    assert first == ("labels.fits", "image.fits") and rest == options | {"rms": False}
    files = {"image": "image.fits", "rms": False, "sources": "labels.fits", "labels_hdu": "LAB"}
    assert asked == PLACES | files | {"labels": [4]}


# ---- numbers ----


def check(**changes):
    names = ("kron", "apertures", "ellipses", "light_fractions", "total", "stars", "neighbours")
    options = dict.fromkeys(names) | {"total": False, "stars": False, "neighbours": "correct"}
    others = {"local_background": 0, "noise_factor": 1, "n_jobs": None}
    others |= {name: changes.pop(name) for name in tuple(others) if name in changes}
    options |= changes
    return check_apertures(*(options[name] for name in names), **others)


def test_limits_of_numbers_are_allowed_and_nothing_beyond():
    assert check(light_fractions=1.0).fractions == (1.0,)
    assert check(local_background=0).local_background == 0
    assert check(kron=(2.5, 0)).kron == (2.5, 0.0, 0.0)
    assert check(kron=(2.5, 1.4, 3.5)).kron == (2.5, 1.4, 3.5)
    assert check(kron=True).kron == (2.5, 1.4, 0.0)
    assert check(kron=False).kron is None and not check().any
    assert check(apertures=np.array([3, 2])).circles == (3.0, 2.0) and check(apertures=1).any
    for bad in (
        *({"light_fractions": value} for value in (0, 1.001, [[0.5]], np.inf)),
        *({"local_background": value} for value in (-0.1, True, np.nan, "3", np.inf)),
        *({"noise_factor": value} for value in (0, -1, True, np.inf)),
        *({"kron": value} for value in ((0, 1), (2, -1), (2, 1, -1), (2, np.nan), (1, 2, 3, 4), 2)),
        *({"apertures": value} for value in (0, [2, -1], [[1, 2]], np.nan, [2, 2])),
        {"neighbours": 1},
    ):
        (name,) = bad
        with pytest.raises(ValueError, match=f"{name} must"):
            check(**bad)


@pytest.mark.parametrize(
    ("options", "fractions", "shown"),
    [
        ({"light_fractions": [0.8, 0.2]}, (0.8, 0.2), (0.8, 0.2)),
        ({"light_fractions": [0.8], "total": True}, (0.8, 0.5), (0.8,)),
        ({"light_fractions": [0.5, 0.8], "total": True}, (0.5, 0.8), (0.5, 0.8)),
        ({"stars": True}, (0.5,), ()),
        ({}, (), ()),
    ],
)
def test_half_of_the_light_is_measured_if_something_needs_it(options, fractions, shown):
    wanted = check(**options)
    assert wanted.fractions == fractions and wanted.shown_fractions == shown
    assert wanted.kron == ((2.5, 1.4, 0.0) if fractions else None)


def test_names_of_numbers():
    assert [number_name(value) for value in (5.0, 2.5, 0.25)] == ["5", "2_5", "0_25"]


# ---- zero points ----


@pytest.mark.parametrize("place", range(len(_KEYWORDS)))
def test_every_keyword_tells_the_zero_point_and_that_of_the_band_first(place):
    name = _KEYWORDS[place]
    later = {other: 20.0 + index for index, other in enumerate(_KEYWORDS) if index < place}
    assert ab_zero_point({name: "26.5", "BUNIT": "Jy"}) == 26.5
    cards = {f"{name}_G": 27.5, name: 26.5, "PHOTFLAM": 1.0, "PHOTPLAM": 1.0, "BUNIT": "Jy"}
    assert ab_zero_point(cards, band="g") == 27.5
    assert ab_zero_point(cards, band="r") == ab_zero_point(cards) == 26.5
    assert ab_zero_point(cards | later, band="g") == 27.5


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("Jy", 8.9),
        ("mJy", 16.4),
        (" nanomaggies ", 22.5),
        ("nmgy", 22.5),
        ("NANOMAGGY", 22.5),
        ("W m-2 Hz-1", 8.9 - 65),
    ],
)
def test_units_tell_the_zero_point(unit, expected):
    assert ab_zero_point({"BUNIT": unit}) == pytest.approx(expected, abs=1e-9)


def test_surface_brightness_takes_the_area_of_the_header_or_of_the_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ("RA---TAN", "DEC--TAN"), (-1e-4, 2e-4)
    area = 2e-8 * np.radians(1) ** 2
    expected = 8.9 - 2.5 * np.log10(1e6 * area)
    assert ab_zero_point({"BUNIT": "MJy/sr"}, wcs=wcs) == pytest.approx(expected, abs=1e-6)
    cards = {"BUNIT": "MJy/sr", "PIXAR_SR": 3 * area}
    shifted = expected - 2.5 * np.log10(3)
    assert ab_zero_point(cards, wcs=wcs) == pytest.approx(shifted, abs=1e-6)


@pytest.mark.parametrize(("flam", "plam"), [(0.0, 8e3), (7e-20, 0.0), (-7e-20, 8e3), (7e-20, -8e3)])
def test_sensitivities_that_are_none_tell_nothing(flam, plam):
    with pytest.raises(ValueError, match="The header has no zero point"):
        ab_zero_point({"PHOTFLAM": flam, "PHOTPLAM": plam})
    good = ab_zero_point({"PHOTFLAM": 7e-20, "PHOTPLAM": 8e3})
    assert good == pytest.approx(-2.5 * np.log10(7e-20) - 5 * np.log10(8e3) - 2.408)


def test_bands_of_a_header_have_zero_points_of_their_own():
    header = fits.Header({"MAGZP_G": 25.0, "MAGZP_R": 27.0})
    image = np.full((2, 9, 9), 4.0)
    field = Field(image, header=header)
    catalog = source_catalog(np.eye(9, dtype=int), field, bands="gr", flux_unit="uJy")
    ratio = catalog["flux_g"][0].value / catalog["flux_r"][0].value
    assert ratio == pytest.approx(10 ** (0.4 * 2))
    assert catalog["magnitude_g"][0].value == pytest.approx(25 - 2.5 * np.log10(36))
    for zero_point in ([25, 26, 27], [[25, 26]], np.inf, [25, np.nan]):
        with pytest.raises(ValueError, match="zero_point must be one number, or one per band"):
            source_catalog(np.eye(9, dtype=int), field, zero_point=zero_point)


def test_classes_are_asked_for_up_to_the_highest_label():
    """Labels may be large and far apart."""
    labels = np.zeros((9, 9), dtype=np.int64)
    labels[2, 2:5], labels[6, 2:5] = 3, 2_000_000_000
    for name in ("classes", "scores"):
        with pytest.raises(ValueError, match=rf"{name} has shape \(5,\), but labels go up to 2000"):
            source_catalog(labels, np.ones((9, 9)), **{name: np.ones(5)})


def test_a_wcs_that_is_none_is_refused():
    labels = np.pad(np.ones((3, 3), dtype=int), 3)
    with pytest.raises(TypeError, match=r"wcs must be an astropy.wcs.WCS or None. Got str"):
        source_catalog(labels, np.ones(labels.shape), wcs="RA---TAN")

import numpy as np
import pytest

from galaxysegment.datasets._population import (
    GALAXY_SLOPE,
    component_mags,
    component_radii,
    draw_galaxies,
    draw_stars,
    surface_brightness_radius,
)

galsim = pytest.importorskip("galsim")


@pytest.fixture(scope="module")
def galaxies():
    return draw_galaxies(np.random.default_rng(0), 20_000, 18.0, 27.0)


def test_counts_grow_as_a_power_law(galaxies):
    counts, edges = np.histogram(galaxies["mag"], bins=np.arange(22, 27.5, 0.5))
    slope = np.polyfit(edges[:-1], np.log10(counts), 1)[0]
    assert slope == pytest.approx(GALAXY_SLOPE, abs=0.02)
    assert galaxies["mag"].min() >= 18
    assert galaxies["mag"].max() <= 27


def test_fainter_galaxies_are_smaller_and_bluer(galaxies):
    bright, faint = galaxies[galaxies["mag"] < 23], galaxies[galaxies["mag"] > 26]
    assert np.median(bright["radius"]) > 1.5 * np.median(faint["radius"])
    assert np.median(bright["disk_gr"]) > np.median(faint["disk_gr"])


def test_component_radii_enclose_half_of_the_light(galaxies):
    some = galaxies[:40]
    for galaxy, disk, bulge in zip(some, *component_radii(some), strict=True):
        fraction = galaxy["bulge_fraction"]
        inside = 0.0
        if fraction < 1:
            inside += (1 - fraction) * enclosed(
                galsim.Exponential(half_light_radius=disk), galaxy["radius"]
            )
        if fraction > 0:
            inside += fraction * enclosed(
                galsim.DeVaucouleurs(half_light_radius=bulge), galaxy["radius"]
            )
        assert inside == pytest.approx(0.5, abs=2e-3)


def enclosed(profile, radius):
    """Flux within `radius`, by rings that are narrow near the cusp of the centre."""
    edges = radius * np.linspace(0, 1, 301) ** 3
    middles = (edges[1:] + edges[:-1]) / 2
    return np.sum(np.pi * np.diff(edges**2) * [profile.xValue(middle, 0) for middle in middles])


def test_bulge_and_disk_make_up_the_magnitude(galaxies):
    disk, bulge = component_mags(galaxies, "r")
    total = -2.5 * np.log10(10 ** (-0.4 * disk) + 10 ** (-0.4 * bulge))
    np.testing.assert_allclose(total, galaxies["mag"])
    has_disk = np.isfinite(disk)
    blue = component_mags(galaxies, "g")[0]
    np.testing.assert_allclose(blue[has_disk] - disk[has_disk], galaxies["disk_gr"][has_disk])


@pytest.mark.parametrize(
    ("profile", "kind"), [("disk", galsim.Exponential), ("bulge", galsim.DeVaucouleurs)]
)
def test_radius_of_a_level_is_where_the_profile_has_it(profile, kind):
    radius = surface_brightness_radius(
        np.array([1000.0]), np.array([4.0]), np.array([0.5]), 0.3, profile
    )[0]
    seen = kind(half_light_radius=4.0, flux=1000.0).shear(q=0.5, beta=0 * galsim.degrees)
    assert seen.xValue(radius, 0) == pytest.approx(0.3, rel=1e-3)


def test_a_profile_that_is_never_so_bright_has_no_radius():
    flux, radius = np.array([1e-3, 0.0]), np.array([4.0, 4.0])
    assert surface_brightness_radius(flux, radius, np.ones(2), 1.0, "disk").tolist() == [0, 0]


def test_stars_have_a_locus_of_their_own(galaxies):
    stars = draw_stars(np.random.default_rng(1), 5000, 18.0, 26.0)
    assert (np.abs(stars["disk_gr"] - 1.4) < 0.3).mean() > 0.5
    assert (np.abs(galaxies["disk_gr"] - 1.4) < 0.3).mean() < 0.01

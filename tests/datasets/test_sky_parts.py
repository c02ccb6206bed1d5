"""Spectra, forms, stars, trails and mosaics, each alone."""

import numpy as np
import pytest

from galaxysegment.datasets import _sky_population as population
from galaxysegment.datasets._coverage import draw_mosaic
from galaxysegment.datasets._diffuse import cirrus
from galaxysegment.datasets._morphology import paint_galaxy
from galaxysegment.datasets._sky_light import _draw_galaxy
from galaxysegment.datasets._spectra import galaxy_colour, star_colour
from galaxysegment.datasets._stars import Optics, add_spikes, draw_star, saturate
from galaxysegment.datasets._trails import add_cosmic_rays, add_satellite

pytest.importorskip("galsim")


@pytest.fixture(scope="module")
def camera():
    return population.SkyCamera(0.2, 0.8, "gr", (500.0, 500.0), (26.0, 26.0), 9.0)


def source_of(form, camera, seed=0):
    [source] = population.draw_large(np.random.default_rng(seed), 1, (300, 300), camera)
    source["form"], source["seed"], source["x"], source["y"] = form, seed, 150.3, 149.6
    if form == population.ELLIPTICAL:
        source["bulge_fraction"], source["bulge_axis_ratio"] = 1, 0.7
    return source


def test_old_galaxies_and_cool_stars_are_red():
    young, old = galaxy_colour("g", np.array([0.0, 1.0]), np.array([0.05, 0.05]))
    assert 0.2 < young < 0.5 and 0.7 < old < 1.0
    # the break at 4000 Å leaves g at a redshift of 0.4 and passes r at 0.7
    assert galaxy_colour("g", 1.0, 0.4) > 1.4
    assert galaxy_colour("z", 1.0, 0.9) < galaxy_colour("z", 1.0, 0.05) - 0.8
    # Lyman alpha passes g at a redshift of 3 to 4
    assert galaxy_colour("u", 0.0, 3.6) > 2
    hot, cool = star_colour("g", np.array([10000.0, 3300.0]))
    assert hot < 0 and cool > 1
    assert galaxy_colour("r", 0.5, 1.0) == star_colour("r", 4000.0) == 0


@pytest.mark.parametrize("form", range(population.SPIRAL, population.POINT))
def test_forms_keep_their_flux_and_place(form, camera):
    source = source_of(form, camera, seed=form)
    fluxes = camera.fluxes(source[None])[0]
    stamp = _draw_galaxy(camera, source, fluxes)
    np.testing.assert_allclose(stamp.flux[1].sum(), fluxes[1].sum(), rtol=0.15)
    rows, columns = np.indices(stamp.flux.shape[1:])
    light = stamp.flux[1] / stamp.flux[1].sum()
    offset = np.hypot(
        (rows * light).sum() + stamp.y0 - source["y"],
        (columns * light).sum() + stamp.x0 - source["x"],
    )
    most = 1.0 if form == population.MERGER else 0.35  # tails pull the centre of light
    assert offset < most * source["radius"] / camera.pixel_scale + 1
    # nothing ends at a straight edge
    border = np.concatenate([stamp.flux[:, 0], stamp.flux[:, -1], stamp.flux[:, :, 0]], axis=1)
    assert border.max() < 0.2 * camera.sky_rms.min()


def test_spirals_have_arms_and_ellipticals_have_none():
    def contrast(form):
        """Scatter of the young light along the ring of the half-light radius."""
        values = []
        for seed in range(6):
            source = source_of(
                form, population.SkyCamera(0.2, 0.8, "r", (5e2,), (26.0,), 9.0), seed
            )
            source["disk_axis_ratio"] = source["bulge_axis_ratio"] = 1.0
            paint = paint_galaxy(source, 30.0, 200, 0.0, 0.0)
            angle = np.linspace(0, 2 * np.pi, 200)
            rows = np.rint(100 + 30 * np.sin(angle)).astype(int)
            columns = np.rint(100 + 30 * np.cos(angle)).astype(int)
            ring = paint.young[rows, columns]
            values.append(ring.std() / ring.mean())
        return np.median(values)

    assert contrast(population.SPIRAL) > 0.2 > contrast(population.ELLIPTICAL)


def test_dust_hides_blue_light_more(camera):
    source = source_of(population.SPIRAL, camera, seed=1)
    source["disk_axis_ratio"] = 0.9
    assert paint_galaxy(source, 30.0, 200, 0.0, 0.0).dust.max() > 0.05


def test_stars_have_halos(camera):
    [star] = population.draw_bright_stars(np.random.default_rng(0), 1, (300, 300), camera, 1e5)
    fluxes = camera.fluxes(star[None])[0]
    with_halo = draw_star(camera, Optics(halo=0.05), star, fluxes)
    without = draw_star(camera, Optics(halo=0.0), star, fluxes)
    middle, size = with_halo.flux.shape[1] // 2, without.flux.shape[1] // 2
    far = min(40, size - 1)
    assert with_halo.flux[1, middle, middle + far] > 2 * without.flux[1, size, size + far]
    np.testing.assert_allclose(with_halo.flux[1].sum(), fluxes[1].sum(), rtol=0.1)


def test_spikes_leave_the_star_in_their_directions(camera):
    star = np.zeros(1, dtype=population.SKY_SOURCE)[0]
    star["y"], star["x"] = 100, 100
    light = np.zeros((2, 201, 201))
    add_spikes(light, camera, Optics(n_spikes=4, spike_angle=0.0), star, np.full((2, 2), 1e7))
    assert light[0, 100, 160] > 20 * light[0, 140, 140]
    np.testing.assert_allclose(light[0, 100, 40], light[0, 160, 100], rtol=0.01)
    none = np.zeros_like(light)
    add_spikes(none, camera, Optics(n_spikes=0), star, np.full((2, 2), 1e7))
    assert not none.any()


def test_charge_spills_along_the_column_alone():
    light = np.zeros((1, 101, 101))
    light[0, 50, 50] = 1e6
    spilled = saturate(light, 1e4, bleeds=True)
    assert light.max() == 1e4
    assert spilled[0, :50, 50].any() and spilled[0, 51:, 50].any() and spilled[0, 50, 50] == 0
    assert not np.delete(spilled[0], 50, axis=1).any()
    light[0, 50, 50] = 1e6
    assert not saturate(light, 1e4, bleeds=False).any()


def test_trails_cross_and_cosmic_rays_are_thin():
    rng = np.random.default_rng(0)
    light = np.zeros((1, 128, 128))
    add_satellite(light, rng, 4.0, np.array([10.0]))
    assert light.max() > 10
    rays = np.zeros((1, 128, 128))
    add_cosmic_rays(rays, rng, 5, np.array([10.0]))
    hit = rays[0] > 0
    assert 5 <= hit.sum() < 400
    # no PSF: a ray is one pixel wide, and falls to zero at once
    assert not (
        hit[:-2, :-2] & hit[1:-1, :-2] & hit[2:, :-2] & hit[1:-1, 1:-1] & hit[1:-1, 2:]
    ).all()


def test_cirrus_is_as_bright_as_asked():
    wisps = cirrus(np.random.default_rng(1), (200, 240), 3.0)
    assert wisps.shape == (200, 240) and wisps.min() >= 0
    np.testing.assert_allclose(np.quantile(wisps, 0.9), 3.0)


def test_mosaics_have_gaps_and_levels():
    drawn = [draw_mosaic(np.random.default_rng(seed), (128, 128), step=1.0) for seed in range(12)]
    assert any((coverage.exposure == 0).any() for coverage in drawn)
    for coverage in drawn:
        assert coverage.exposure.max() == 1 and coverage.exposure.min() >= 0
    assert max(np.ptp(coverage.level) for coverage in drawn) > 0.5
    flat = draw_mosaic(np.random.default_rng(0), (64, 64), n_exposures=3, step=0.0)
    assert not flat.level.any()

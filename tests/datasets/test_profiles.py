"""Our Fourier drawing against GalSim's own `drawImage`."""

import numpy as np
import pytest

from galaxysegment.datasets._profiles import ProfileDrawer

galsim = pytest.importorskip("galsim")


def draw_with_galsim(profile, size, dy, dx, pixel_scale, psf_fwhm):
    accurate = galsim.GSParams(folding_threshold=5e-4, maxk_threshold=1e-5, maximum_fft_size=20000)
    image = galsim.ImageD(size, size, scale=pixel_scale)
    seen = galsim.Convolve([*profile, galsim.Moffat(beta=3, fwhm=psf_fwhm)], gsparams=accurate)
    # GalSim's middle of an even image lies half a pixel before ours
    return seen.drawImage(image=image, offset=(dx + 0.5, dy + 0.5)).array


@pytest.mark.parametrize(("pixel_scale", "psf_fwhm"), [(0.1, 0.17), (0.2, 0.7), (0.1, 0.1)])
@pytest.mark.parametrize(("kind", "tolerance"), [("star", 1e-4), ("disk", 5e-5), ("bulge", 2e-3)])
def test_equals_galsim(kind, tolerance, pixel_scale, psf_fwhm):
    size, dy, dx = 64, 0.3, -0.2
    drawer = ProfileDrawer(pixel_scale, psf_fwhm)
    if kind == "star":
        ours, profile = drawer.star(size, dy, dx), []
    else:
        ours = drawer.galaxy(kind, 3 * pixel_scale, 0.5, 30.0, size, dy, dx)
        profile = [galsim.Exponential if kind == "disk" else galsim.DeVaucouleurs]
        profile = [
            profile[0](half_light_radius=3 * pixel_scale).shear(q=0.5, beta=30 * galsim.degrees)
        ]
    expected = draw_with_galsim(profile, size, dy, dx, pixel_scale, psf_fwhm)
    assert np.abs(ours - expected).max() < tolerance * expected.max()
    assert ours.sum() == pytest.approx(1)


def test_shifting_by_a_pixel_moves_the_light_by_a_pixel():
    drawer = ProfileDrawer(0.1, 0.17)
    here, there = drawer.star(48, 0.0, 0.25), drawer.star(48, 1.0, -0.75)
    np.testing.assert_allclose(there, np.roll(here, (1, -1), axis=(0, 1)), atol=1e-12)

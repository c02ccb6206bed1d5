"""The light of the sources of `make_sky`, each drawn alone: smooth, with a form, or a star."""

import numpy as np
from joblib import Parallel, delayed

from ._morphology import expose_galaxy, paint_galaxy
from ._population import surface_brightness_radius
from ._scene import Stamp
from ._sky_population import MERGER, POINT, SMOOTH
from ._stars import draw_star

_FADED = 0.1  # light under this many times the noise of the sky is left out
_LARGEST = 1200  # side of a stamp
_BRIGHT = 2000.0  # flux over the noise of a pixel, beyond which the halo of a star shows
_CHUNK = 16


def draw_sources(camera, optics, sources, n_jobs):
    """Draw each source's own noise-free light through the PSF.

    Parameters
    ----------
    camera : SkyCamera
    optics : Optics
    sources : ndarray of dtype SKY_SOURCE, shape (n,)
    n_jobs : int or None
        Number of workers; the result does not depend on it.

    Returns
    -------
    list of Stamp
    """
    fluxes = camera.fluxes(sources)
    reference = camera.reference
    relative = fluxes[:, reference].sum(axis=1) / camera.sky_rms[reference]
    point = sources["form"] == POINT
    plain = (sources["form"] == SMOOTH) | (point & (relative < _BRIGHT))
    stamps = dict(
        zip(
            np.flatnonzero(plain).tolist(),
            camera.draw_parallel(sources[plain], n_jobs),
            strict=True,
        )
    )
    rich = np.flatnonzero(~plain)
    chunks = [rich[start : start + _CHUNK] for start in range(0, len(rich), _CHUNK)]
    drawn = Parallel(n_jobs=n_jobs)(
        delayed(_draw_chunk)(camera, optics, sources[chunk], fluxes[chunk]) for chunk in chunks
    )
    stamps |= dict(zip(rich.tolist(), (stamp for part in drawn for stamp in part), strict=True))
    return [stamps[index] for index in range(len(sources))]


def _draw_chunk(camera, optics, sources, fluxes):
    return [
        draw_star(camera, optics, source, flux)
        if source["form"] == POINT
        else _draw_galaxy(camera, source, flux)
        for source, flux in zip(sources, fluxes, strict=True)
    ]


def _draw_galaxy(camera, source, fluxes):
    radius = source["radius"] / camera.pixel_scale
    size = _stamp_size(camera, source, fluxes, radius)
    y, x = round(float(source["y"])), round(float(source["x"]))
    paint = paint_galaxy(source, radius, size, source["y"] - y, source["x"] - x)
    fade = _vignette(size)
    paint = paint._replace(old=paint.old * fade, young=paint.young * fade)
    light = expose_galaxy(paint, fluxes, camera.bands, camera.drawer)
    return Stamp(y - size // 2, x - size // 2, light)


def _stamp_size(camera, source, fluxes, radius):
    # of the reference band alone: what a galaxy looks like must not depend on the other bands
    relative = fluxes[camera.reference] / (_FADED * camera.sky_rms[camera.reference])
    reach = max(
        float(surface_brightness_radius(flux, radius, source[f"{part}_axis_ratio"], 1.0, part))
        for flux, part in zip(relative, ("disk", "bulge"), strict=True)
    )
    wide = 1.6 if source["form"] == MERGER else 1.15
    psf = camera.psf_fwhm / camera.pixel_scale
    size = int(min(2 * np.ceil(wide * reach + 4 * psf) + 8, _LARGEST))
    return size + size % 2


def _vignette(size):
    """Fade towards the edge of the stamp, so that no box shows in the sky."""
    rows, columns = np.ogrid[:size, :size]
    distance = np.hypot(rows - size // 2, columns - size // 2) / (size // 2)
    fade = np.clip((1.0 - distance) / 0.2, 0, 1)
    return (fade * fade * (3 - 2 * fade)).astype(np.float32)

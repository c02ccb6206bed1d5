"""What is not of the sky: trails of satellites, and cosmic rays in the detector."""

import numpy as np


def add_satellite(light, rng, fwhm, noise):
    """Add the trail of a satellite to ``light``, (n_bands, height, width).

    Parameters
    ----------
    light : ndarray of float
    rng : `numpy.random.Generator`
    fwhm : float
        Of the PSF, pixels.
    noise : ndarray of shape (n_bands,)
        Of the sky, electrons.
    """
    height, width = light.shape[1:]
    angle = rng.uniform(0, np.pi)
    y, x = rng.uniform(0, height), rng.uniform(0, width)
    rows, columns = np.ogrid[:height, :width]
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    core = fwhm * rng.uniform(1.0, 2.2) / 1.53
    peak = np.exp(rng.uniform(np.log(1.5), np.log(60)))
    profile = (1 + (across / core) ** 2) ** -2.5
    if rng.uniform() < 0.25:  # it tumbles
        profile = profile * (0.55 + 0.45 * np.sin(along / rng.uniform(15, 120)))
    if rng.uniform() < 0.3:  # it ends, or the shutter does
        profile = profile * (along * rng.choice([-1, 1]) < rng.uniform(0, 0.4) * width)
    light += peak * noise[:, None, None] * profile


def add_cosmic_rays(light, rng, count, noise):
    """Add `count` cosmic rays, which no PSF blurs, to ``light``, (n_bands, height, width)."""
    height, width = light.shape[1:]
    for _ in range(count):
        band = int(rng.integers(len(light)))
        length = min(1 + rng.exponential(6), 90)
        angle = rng.uniform(0, 2 * np.pi)
        # slow electrons wander, muons go straight
        bend = rng.normal(0, 0.12) if rng.uniform() < 0.35 else 0.0
        angles = angle + np.cumsum(bend * rng.standard_normal(int(3 * length) + 1))
        y = rng.uniform(0, height) + np.cumsum(np.sin(angles)) / 3
        x = rng.uniform(0, width) + np.cumsum(np.cos(angles)) / 3
        strength = np.exp(rng.uniform(np.log(4), np.log(150))) * noise[band]
        rows, columns = np.floor(y).astype(int), np.floor(x).astype(int)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        rows, columns = rows[inside], columns[inside]
        track = np.unique(np.stack([rows, columns], axis=1), axis=0)
        light[band, track[:, 0], track[:, 1]] += strength * rng.uniform(0.4, 1.3, len(track))

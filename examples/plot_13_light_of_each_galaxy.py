"""
13. The light of each galaxy
============================

Galaxies that overlap share the light of their pixels. A separator divides it: each galaxy gets an
image of its own, and the parts and the residual add up to the image.
"""

# %%
# If ``GALAXYSEGMENT_DATA`` names a folder with ``hsc_cosmos_blends/hsc_cosmos_35.npz`` [1]_, this
# is a real blend in COSMOS, in the bands g, r, i, z and y of Hyper Suprime-Cam, with the peaks of
# the survey's pipeline. Otherwise it is a simulated blend of four galaxies in one band.
#
# .. [1] Melchior et al. 2018, "SCARLET: Source separation in multi-band images by Constrained
#    Matrix Factorization", Astronomy and Computing 24, 129. :doi:`10.1016/j.ascom.2018.07.001`

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table

from galaxysegment.datasets import make_blends
from galaxysegment.separation import TemplateSeparator

path = Path(os.environ.get("GALAXYSEGMENT_DATA", "")) / "hsc_cosmos_blends/hsc_cosmos_35.npz"
if path.is_file():
    data = np.load(path)
    image, rms = data["images"], np.sqrt(data["variance"])
    positions = Table({"x": data["catalog"]["x"], "y": data["catalog"]["y"]})
else:
    images, _, catalog = make_blends(
        1, (64, 64), n_sources=4, separation=(6, 18), return_catalog=True, random_state=10
    )
    image, rms = images, np.full_like(images, 24.1)  # one band
    positions = Table({"x": catalog["x"].value, "y": catalog["y"].value})

# %%
# The positions are enough. A label map or `Instances` would do as well, and a segmenter can find
# the sources (`SegmentThenSeparate`).

(separated,) = TemplateSeparator().separate([image], [positions], rms=[rms])
band = min(1, len(image) - 1)  # r
for x, y, flux, error, blendedness in zip(
    positions["x"],
    positions["y"],
    np.reshape(separated.fluxes, (len(separated), -1))[:, band],
    np.reshape(separated.flux_errors, (len(separated), -1))[:, band],
    np.reshape(separated.blendedness, (len(separated), -1))[:, band],
    strict=True,
):
    print(f"x={x:5.1f}, y={y:5.1f}: flux {flux:9.2f} ± {error:.2f}, blendedness {blendedness:.2f}")
total = separated.total() + separated.residual
print("parts + residual = image:", np.allclose(total, image, atol=1e-3 * np.abs(image).max()))

# %%
# The six brightest parts, and the residual in units of the noise. In colour, red, green and blue
# are i, r and g. The residual keeps the noise of the sky, and galaxies that nobody gave.


def to_screen(bands):
    """Scale an image for display: RGB of i, r, g, or the only band."""
    noise = np.median(rms, axis=(1, 2))[:, None, None]
    shown = np.arcsinh(bands.reshape(image.shape) / noise / 3) / np.arcsinh(100)
    return np.clip(shown[2::-1].transpose(1, 2, 0) if len(shown) > 2 else shown[0], 0, 1)


brightest = np.argsort(-np.reshape(separated.fluxes, (len(separated), -1))[:, band])[:6]
figure, axes = plt.subplots(2, 4, figsize=(10, 6), layout="constrained")
panels = [("image", image)]
panels += [(f"galaxy {index + 1}", separated.isolated(index)) for index in brightest]
for axis, (title, pixels) in zip(axes.flat, panels, strict=False):
    axis.imshow(to_screen(pixels), cmap="gray", origin="lower", vmin=0, vmax=1)
    axis.set_title(title)
axes[0, 0].plot(positions["x"], positions["y"], "+", color="white")
residual = np.reshape(separated.residual, image.shape)[band] / rms[band]
axes[1, 3].imshow(residual, cmap="gray", origin="lower", vmin=-4, vmax=4)
axes[1, 3].set_title("residual, ±4 RMS")
for axis in axes.flat:
    axis.set_axis_off()
plt.show()

"""
14. All the light of a galaxy
=============================

The mask of a faint galaxy misses its outskirts. A Kron aperture is an ellipse that follows the size
of the galaxy; a growth curve shows how much light lies within.
"""

# %%
# Find the sources of a simulated field and measure them in Kron apertures.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse

from galaxysegment import PhotutilsSegmenter
from galaxysegment.catalog import profiles, source_catalog
from galaxysegment.datasets import make_field
from galaxysegment.preprocessing import BackgroundSubtractor

field = make_field((300, 300), random_state=4)
image = BackgroundSubtractor().fit_transform(field.image[None])[0, 0]
labels = PhotutilsSegmenter(n_sigma=1, deblend=True).predict(image[None])[0]
catalog = source_catalog(labels, image, rms=field.rms, kron=True, total=True)
ratio = catalog["flux"] / catalog["flux_kron"]
print(f"light in the mask over light in the Kron aperture: {np.median(ratio):.2f}")

# %%
# Left: the outlines of the masks (white) and the Kron apertures (orange). Right: the light within
# ellipses of growing size for three galaxies, over their true light. The dots mark the masks, and
# the crosses the Kron apertures, at the radii of circles of the same area.

truth = field.catalog
places = np.hypot(
    catalog["y"][:, None] - truth["y"].value, catalog["x"][:, None] - truth["x"].value
)
true_flux = np.asarray(truth["flux"])[places.argmin(axis=1)]
alone = (catalog["flags"] == 0) & (places.min(axis=1) < 1.5)
brightest_first = np.flatnonzero(alone)[np.argsort(-true_flux[alone])]
chosen = np.sort(brightest_first[[0, 2, 5]])
curves = profiles(labels, image, labels=catalog["label"][chosen], radii=np.arange(0.5, 10, 0.5))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.7), layout="constrained")
left.imshow(np.arcsinh(image / field.rms), vmin=-1, vmax=5, cmap="gray", origin="lower")
left.contour(labels > 0, [0.5], colors="w", linewidths=0.8)
for row in catalog:
    size = 2 * 2.5 * row["kron_radius"]
    axes = size * row["semi_major"].value, size * row["semi_minor"].value
    ellipse = Ellipse(
        (row["x"], row["y"]), *axes, angle=row["angle"].value, fill=False, ec="orange"
    )
    left.add_patch(ellipse)
left.set(xlim=(0, 299), ylim=(0, 299))
for curve, index in zip(curves, chosen, strict=True):
    row, light = catalog[index], true_flux[index]
    shrink = np.sqrt(row["semi_minor"] / row["semi_major"]).value
    (line,) = right.plot(curve["radius"].value * shrink, curve["growth"] / light)
    right.plot(np.sqrt(row["area"] / np.pi), row["flux"] / light, "o", c=line.get_color())
    kron = 2.5 * row["kron_radius"] * row["semi_major"].value * shrink
    right.plot(kron, row["flux_kron"] / light, "x", ms=9, mew=2, c=line.get_color())
right.axhline(1, color="0.6", lw=0.8)
right.set(xlabel="radius in pixels", ylabel="light within, over the true light", ylim=(0, 1.2))
plt.show()

"""
17. One galaxy, one label
=========================

Keep a spiral whole, with its arms, knots and dust, and still split the star in front of it from it.
"""

# %%
# The galaxy of this example is simulated: a disk with two logarithmic arms, knots along the arms,
# lanes of dust on their inner sides, a bulge, a star and a companion in front, and noise.

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

from galaxysegment import PhotutilsSegmenter

rng = np.random.default_rng(4)
y, x = np.indices((300, 300), dtype=float)
across, along = (y - 150) / 0.8, x - 150
r, azimuth = np.hypot(across, along), np.arctan2(across, along)
wander = ndimage.gaussian_filter(rng.standard_normal(r.shape), 12)
phase = 2 * (azimuth - 2.6 * np.log(np.maximum(r, 1) / 35)) + 0.7 * wander / wander.std()
arms = np.exp(3 * (np.cos(phase) - 1)) * (r > 12)
dust = np.exp(3 * (np.cos(phase + 0.9) - 1)) * (r > 12)
disk = np.exp(-r / 28)
light = 20 * disk * (1 + 2.5 * arms) * np.exp(-0.6 * dust) + 120 * np.exp(-r / 5)
chance = (disk**2 * arms).ravel().cumsum()
places = np.searchsorted(chance, rng.uniform(0, chance[-1], 90))
knots = np.bincount(places, weights=rng.pareto(1.5, 90), minlength=r.size).reshape(r.shape)
light += 60 * ndimage.gaussian_filter(np.minimum(knots, 6), 1.2)
star, companion = (105, 178), (205, 128)
light += 500 * np.exp(-((y - star[0]) ** 2 + (x - star[1]) ** 2) / 3)
light += 60 * np.exp(-np.hypot(y - companion[0], (x - companion[1]) / 0.7) / 4)
image = ndimage.gaussian_filter(light, 1.3) + rng.standard_normal(r.shape)

# %%
# ``deblend=True`` splits wherever there are two peaks with a saddle between them.
# ``deblend="galaxy"`` asks of each peak whether it belongs to the galaxy that it lies in.

settings = {"n_sigma": 1, "box_size": 150, "rms_band": -1}
X = np.stack([image, np.ones_like(image)])[np.newaxis]
maps = {how: PhotutilsSegmenter(deblend=how, **settings).predict(X)[0] for how in (True, "galaxy")}
disk_pixels = light > 2
for how, labels in maps.items():
    pieces = np.unique(labels[disk_pixels & (labels > 0)])
    apart = [int(labels[place]) != int(labels[150, 150]) for place in (star, companion)]
    print(f"deblend={how!r}: {len(pieces)} labels in the galaxy; star, companion apart: {apart}")

# %%
# The figure shows the image and both label maps.

figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
stretched = np.arcsinh(image)
colours = np.random.default_rng(2).uniform(0.2, 1, (1000, 3))
axes[0].imshow(stretched, cmap="gray", origin="lower", vmin=-1, vmax=5)
axes[0].set_title("image")
for axis, (how, labels) in zip(axes[1:], maps.items(), strict=True):
    axis.imshow(stretched, cmap="gray", origin="lower", vmin=-1, vmax=5)
    overlay = np.dstack([colours[labels], 0.5 * (labels > 0)])
    axis.imshow(overlay, origin="lower", interpolation="nearest")
    axis.set_title(f"deblend={how!r}")
for axis in axes:
    axis.set_axis_off()

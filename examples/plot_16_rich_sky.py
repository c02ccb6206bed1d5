"""
16. A simulated sky with everything in it
=========================================

``make_sky`` draws what surveys meet, and says of every pixel what it is: a spiral with its arms and
knots is one galaxy, a spike belongs to no source, and the light of a cluster fades into the sky.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from galaxysegment.datasets import make_sky
from galaxysegment.preprocessing import LuptonRGB
from galaxysegment.structures import CLASS_NAMES

field, class_map = make_sky(
    (640, 640),
    bands="irg",
    large_galaxies=10,
    clusters=1,
    bright_stars=6,
    satellites=1,
    cirrus=0.4,
    random_state=9,
)
noise = np.nanmedian(field.rms, axis=(1, 2))[:, None, None]
sky = np.nanmedian(field.image, axis=(1, 2))[:, None, None]
signal = np.nan_to_num((field.image - sky) / noise)
picture = LuptonRGB(stretch=6, Q=9).fit_transform(signal[None])[0]

fig, axes = plt.subplots(1, 2, figsize=(12, 6), layout="constrained")
axes[0].imshow(np.clip(np.moveaxis(picture, 0, -1), 0, 1), origin="lower")
axes[0].set_title("g, r and i")
names = {-1: "no data", **CLASS_NAMES}
colours = ["0.6", "black", "orange", "deepskyblue", "red", "magenta", "0.3", "#006644"]
shown = axes[1].imshow(class_map, cmap=ListedColormap(colours), vmin=-1.5, vmax=6.5, origin="lower")
bar = fig.colorbar(shown, ax=axes[1], ticks=list(names), shrink=0.8)
bar.ax.set_yticklabels(names.values())
axes[1].set_title("class of each pixel")
for ax in axes:
    ax.axis("off")
plt.show()

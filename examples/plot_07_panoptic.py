"""
7. Panoptic output: every pixel has a class and a source
========================================================

A panoptic map gives every pixel a class (sky, galaxy, star) and a source. Every segmenter predicts
panoptic maps, and the panoptic quality scores them.
"""

# %%
# Simulate a field in three bands with stars among the galaxies. The true panoptic map has two
# layers: class and source.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from galaxysegment import PhotutilsSegmenter
from galaxysegment.datasets import make_field
from galaxysegment.metrics import panoptic_quality
from galaxysegment.preprocessing import LuptonRGB

field = make_field((300, 300), bands="grz", star_fraction=0.2, random_state=8)
truth = field.instances.to_panoptic()
print(truth.shape, np.unique(truth[0]), truth[1].max(), "sources")

# %%
# `PhotutilsSegmenter` does not classify: it calls every source a galaxy. The sky is one segment,
# whatever its shape.

image = np.stack([field.image[1], field.rms[1]])
segmenter = PhotutilsSegmenter(rms_band=-1, n_sigma=1, deblend=True)
predicted = segmenter.predict(image[None], output="panoptic")[0]
quality = panoptic_quality([truth], [predicted])
print(quality)

# %%
# The stars count as false galaxies, and no true star is detected as a star. To tell them apart,
# take a net: ``UNetSegmenter(weights="sky")`` knows stars without training, and `MaskRCNNSegmenter`
# and `DETRSegmenter` learn classes from such fields.

signal_to_noise = (field.image - np.median(field.image, axis=(1, 2), keepdims=True)) / field.rms
colour = LuptonRGB(order=(2, 1, 0), stretch=6, minimum=-1).fit_transform(signal_to_noise[None])[0]
source_colours = ListedColormap(["#20242c", *plt.get_cmap("tab20").colors])
class_colours = ListedColormap(["#20242c", "#e8a33d", "#58a6ff"])  # sky, galaxy, star
figure, axes = plt.subplot_mosaic(
    [
        ["image", "truth: class", "prediction: class"],
        ["image", "truth: source", "prediction: source"],
    ],
    figsize=(10, 5.6),
    width_ratios=[2, 1, 1],
    layout="constrained",
)
axes["image"].imshow(np.moveaxis(colour, 0, -1), origin="lower")
axes["image"].set_title("image in three bands")
for name, panoptic in {"truth": truth, "prediction": predicted}.items():
    options = {"origin": "lower", "interpolation": "nearest"}
    axes[f"{name}: class"].imshow(panoptic[0], cmap=class_colours, vmin=0, vmax=2, **options)
    sources = np.where(panoptic[1] > 0, panoptic[1] % 20 + 1, 0)
    axes[f"{name}: source"].imshow(sources, cmap=source_colours, vmin=0, vmax=20, **options)
    for kind in ("class", "source"):
        axes[f"{name}: {kind}"].set_title(f"{name}: {kind}")
for axis in axes.values():
    axis.set(xticks=[], yticks=[])
plt.show()

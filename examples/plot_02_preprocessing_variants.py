"""
2. Four ways to prepare an image
================================

A segmenter sees what preprocessing shows it. `make_variant` makes the four pipelines that segmenters
were compared on in the study behind this package, from the plain image to one that the RMS map is part of.
"""

# %%
# A patch of the sample field: the image and, as its last band, the RMS map. Photon noise makes the
# sources visible in the RMS map, too.

import matplotlib.pyplot as plt

from galaxysegment.datasets import load_sample_field
from galaxysegment.preprocessing import make_variant

X, y = load_sample_field().patches(size=256, rms=True)
print(X.shape)

# %%
# All variants end between 0 and 1. Scaled between its extremes (1), only the brightest cores stand out. The
# asinh of the FITS Liberator (2) brings out the faint sources, and the noise with them. Adding the RMS map (3)
# lifts the sources above the noise, for the map has photon noise but no noise of its own; its logarithm (4)
# does so for the faintest sources, too.

titles = {
    1: "1: image, normalized",
    2: "2: FITS Liberator",
    3: "3: FITS Liberator + RMS",
    4: "4: FITS Liberator + log RMS",
}
figure, axes = plt.subplots(1, 4, figsize=(14, 4), layout="constrained")
for axis, (variant, title) in zip(axes, titles.items(), strict=True):
    prepared = make_variant(variant).fit_transform(X[:1])
    axis.imshow(prepared[0, 0], cmap="gray", vmin=0, vmax=1, origin="lower")
    axis.contour(y[0] > 0, levels=[0.5], colors="tab:orange", linewidths=0.4)
    axis.set(title=title, xticks=[], yticks=[])
figure.suptitle("One patch after the four variants; the true sources are outlined")
plt.show()

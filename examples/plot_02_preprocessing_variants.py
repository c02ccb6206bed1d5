"""
2. Four ways to prepare an image
================================

Preprocessing decides what a segmenter sees. `make_variant` makes the four pipelines of
[Saverese2022]_: two from the image alone, two from the image and its RMS map.
"""

# %%
# You take a patch of the sample field: the image and, as its last band, the RMS map. Sources show
# in the RMS map too, by their photon noise.

import matplotlib.pyplot as plt

from galaxysegment.datasets import load_sample_field
from galaxysegment.preprocessing import make_variant

X, y = load_sample_field().patches(size=256, rms=True)
print(X.shape)

# %%
# All four give values between 0 and 1. Variant 1 normalizes the image between its extremes, so that
# only the brightest cores show. Variant 2 applies the asinh stretch of the FITS Liberator, which
# shows the faint sources and the noise. Variant 3 adds the RMS map, which lifts the sources above
# the noise because the map has photon noise but no noise of its own. Variant 4 adds the logarithm
# of the map, which lifts the faintest sources too.

titles = {
    "normalized": "1: image, normalized",
    "liberator": "2: FITS Liberator",
    "liberator_rms": "3: FITS Liberator + RMS",
    "liberator_log_rms": "4: FITS Liberator + log RMS",
}
figure, axes = plt.subplots(1, 4, figsize=(14, 4), layout="constrained")
for axis, (variant, title) in zip(axes, titles.items(), strict=True):
    prepared = make_variant(variant).fit_transform(X[:1])
    axis.imshow(prepared[0, 0], cmap="gray", vmin=0, vmax=1, origin="lower")
    axis.contour(y[0] > 0, levels=[0.5], colors="tab:orange", linewidths=0.4)
    axis.set(title=title, xticks=[], yticks=[])
figure.suptitle("One patch after the four variants; the true sources are outlined")
plt.show()

"""
6. Separate a blend
===================

If two galaxies overlap, some pixels hold light of both. Classical deblending cuts between the
galaxies. `SegmentThenSeparate` divides the light first, so that each galaxy gets its own mask, and
masks may overlap.
"""

# %%
# Simulate pairs of galaxies. The mask of a galaxy holds the pixels where its own light exceeds the
# noise. Truth and predictions are `Instances`, because a label map gives each pixel to one galaxy
# only.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from galaxysegment import NoSourcesWarning, SEPSegmenter
from galaxysegment.datasets import make_blends
from galaxysegment.metrics import detection_scores
from galaxysegment.separation import SegmentThenSeparate

X, y = make_blends(100, (64, 64), separation=(3, 18), random_state=0)
print(y[0], y[0].areas, "pixels;", np.sum(y[0].masks.all(axis=0)), "of them shared")

# %%
# ``refine=True`` gives the masks of the divided light. It also looks for neighbours that were not
# detected. A galaxy counts as detected if its mask has an IoU of at least 0.5 with the true mask.

warnings.simplefilter("ignore", NoSourcesWarning)
classical = SEPSegmenter(deblend=True)
divided = SegmentThenSeparate(classical, refine=True).fit(X)
for name, segmenter in {"classical": classical, "divided light": divided}.items():
    print(f"{name:14}", detection_scores(y, segmenter.predict(X, output="instances")))

# %%
# Nothing was trained here. `MaskRCNNSegmenter`, trained on 4000 pairs for half an hour of one core,
# does as well (setting B of the :doc:`leaderboard </guide/leaderboard>`).
#
# The figure shows four pairs that share about a tenth of their pixels.

shared = np.array([truth.masks.all(axis=0).sum() / truth.to_mask().sum() for truth in y])
pairs = np.argsort(abs(shared - 0.1))[:4]
panels = {
    "truth": [y[index] for index in pairs],
    "classical": classical.predict(X[pairs], output="instances"),
    "divided light": divided.predict(X[pairs], output="instances"),
}
figure, axes = plt.subplots(3, 4, figsize=(9, 6.9), layout="constrained", sharex=True, sharey=True)
for row, (title, predicted) in zip(axes, panels.items(), strict=True):
    row[0].set_ylabel(title, fontsize="large")
    for axis, image, sources in zip(row, X[pairs], predicted, strict=True):
        axis.imshow(np.arcsinh(image / 50), cmap="gray", origin="lower", vmin=-1, vmax=4)
        colours = ("tab:orange", "tab:cyan", "tab:pink", "tab:green")
        for mask, colour in zip(sources.masks, colours, strict=False):
            axis.contour(mask, levels=[0.5], colors=colour, linewidths=1.5)
        axis.set(xticks=[], yticks=[])
plt.show()

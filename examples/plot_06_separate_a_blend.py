"""
6. Separate a blend
===================

If two galaxies overlap, some pixels hold light of both. Mask R-CNN gives each galaxy its own mask,
and masks may overlap. Classical deblending cuts between the galaxies.
"""

# %%
# Simulate pairs of galaxies. The mask of a galaxy holds the pixels where its own light exceeds the
# noise. Truth and predictions are `Instances`, because a label map gives each pixel to one galaxy
# only.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from galaxysegment import MaskRCNNSegmenter, NoSourcesWarning, SEPSegmenter
from galaxysegment.datasets import make_blends
from galaxysegment.metrics import detection_scores
from galaxysegment.preprocessing import NoiseNormalizer

X, y = make_blends(380, (64, 64), separation=(3, 18), random_state=0)
X_train, y_train, X_test, y_test = X[:320], y[:320], X[320:], y[320:]
print(y[0], y[0].areas, "pixels;", np.sum(y[0].masks.all(axis=0)), "of them shared")

# %%
# This is a very light net, trained for seconds. With the defaults, 4000 pairs of 120 × 120 pixels
# and half an hour of one core, F1 is .98 (setting B of the leaderboard).

mask_rcnn = MaskRCNNSegmenter(
    backbone="resnet10",
    stem_stride=2,
    channels=32,
    n_proposals=40,
    n_samples=12,
    soft_nms=None,  # a net trained for so short a time finds things twice:
    box_nms=0.85,  # two galaxies may have almost the same box …
    mask_nms=0.5,  # … but not the same mask
    max_epochs=7,
    lr=3e-3,
    random_state=0,
)
mask_rcnn.fit(X_train, y_train)

# %%
# A galaxy counts as detected if its mask has an IoU of at least 0.5 with the true mask.

warnings.simplefilter("ignore", NoSourcesWarning)
classical = SEPSegmenter(deblend=True)
for name, segmenter in {"Mask R-CNN": mask_rcnn, "sep": classical}.items():
    print(name, detection_scores(y_test, segmenter.predict(X_test, output="instances")))

# %%
# The figure shows three pairs that share about a tenth of their pixels. The true masks overlap, and
# those of Mask R-CNN can overlap too. Masks from classical deblending cannot.

shared = np.array([truth.masks.all(axis=0).sum() / truth.to_mask().sum() for truth in y_test])
pairs = np.argsort(abs(shared - 0.1))[:3]
panels = {
    "truth": [y_test[index] for index in pairs],
    "Mask R-CNN": mask_rcnn.predict(X_test[pairs], output="instances"),
    "classical deblending": classical.predict(X_test[pairs], output="instances"),
}
shown = NoiseNormalizer(stretch="asinh").fit_transform(X_test[pairs])
figure, axes = plt.subplots(3, 3, figsize=(8, 8.3), layout="constrained", sharex=True, sharey=True)
for column, (title, predicted) in zip(axes.T, panels.items(), strict=True):
    column[0].set_title(title)
    for axis, image, sources in zip(column, shown, predicted, strict=True):
        axis.imshow(image, cmap="gray", origin="lower", vmin=0, vmax=5)
        for mask, colour in zip(
            sources.masks, ("tab:orange", "tab:cyan", "tab:pink", "tab:green"), strict=False
        ):
            axis.contour(mask, levels=[0.5], colors=colour, linewidths=1.5)
        axis.set(xticks=[], yticks=[])
plt.show()

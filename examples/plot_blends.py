"""
Overlapping galaxies have overlapping masks
===========================================

A label map gives each pixel to one source. `Instances` keep a mask for each, so that the overlap is not lost.
"""

# %%
# Two galaxies an image; each mask is where that galaxy's own light exceeds the noise.

import matplotlib.pyplot as plt

from galaxysegment.datasets import make_blends
from galaxysegment.display import SegmentationDisplay
from galaxysegment.metrics import detection_scores
from galaxysegment.segmenters import SEPSegmenter

X, y = make_blends(200, random_state=3)
print(y[0], y[0].areas, "pixels")

# %%
# How well classical deblending separates them: a source counts as found where its mask has an IoU of 0.5 or
# more with the true one.

segmenter = SEPSegmenter(deblend=True)
print(detection_scores(y, segmenter.predict(X, output="instances")))

# %%
# Outlines of the true masks, which overlap, and of the predicted ones, which cannot.

figure, axes = plt.subplots(3, 3, figsize=(9, 9), layout="constrained")
for row, index in zip(axes, (0, 1, 2), strict=True):
    SegmentationDisplay.from_estimator(segmenter, X, y, index=index, output="instances", axes=row)
plt.show()

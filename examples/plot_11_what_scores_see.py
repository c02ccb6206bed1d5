"""
11. What each score sees
========================

Spoil a perfect segmentation in three ways, and see which score drops.
"""

# %%
# Take the truth of the sample field and merge neighbours, shrink every source, or drop the faint
# sources.

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

from galaxysegment.datasets import load_sample_field
from galaxysegment.metrics import detection_scores, dice_score, iou_score, panoptic_quality
from galaxysegment.structures import label_components, remove_small

truth = load_sample_field().labels
spoilt = {
    "perfect": truth,
    "neighbours merged": label_components(ndimage.binary_dilation(truth > 0, iterations=4))
    * (truth > 0),
    "shrunk by one pixel": np.where(ndimage.minimum_filter(truth, 3) == truth, truth, 0),
    "small sources left out": remove_small(truth, 30),
}

# %%
# Every metric takes label maps.

scores = {
    "IoU": iou_score,
    "Dice": dice_score,
    "source F1": lambda true, predicted: detection_scores(true, predicted).f1,
    "PQ of galaxies": lambda true, predicted: panoptic_quality(true, predicted).things.pq,
}
table = {
    name: [score(truth, labels) for labels in spoilt.values()] for name, score in scores.items()
}

figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
for offset, (name, values) in enumerate(table.items()):
    axis.bar(np.arange(len(spoilt)) + 0.2 * offset - 0.3, values, width=0.18, label=name)
axis.set(xticks=range(len(spoilt)), xticklabels=spoilt, ylabel="score", ylim=(0, 1.05))
figure.legend(ncols=4, loc="outside upper center")
plt.show()

"""
A first segmentation
====================

Find the sources of the sample field with `PhotutilsSegmenter` and compare them with the truth.
"""

# %%
# The sample field ships with the package: an image, its RMS map and its exact truth.

from galaxysegment import PhotutilsSegmenter
from galaxysegment.datasets import load_sample_field
from galaxysegment.display import SegmentationDisplay
from galaxysegment.metrics import detection_scores, iou_score

field = load_sample_field()
print(field.shape, field.labels.max(), "sources")

# %%
# A segmenter takes a stack of images, here a stack of one, and gives a label map for each.

segmenter = PhotutilsSegmenter(n_sigma=1.5, deblend=True)
labels = segmenter.predict(field.image[None])[0]
print(f"IoU {iou_score(field.labels, labels):.3f}")
print(detection_scores(field.labels, labels))

# %%
# The colours number the sources: neighbours that share one were not separated.

window = (slice(0, 256), slice(0, 256))
SegmentationDisplay.from_predictions(field.labels[window], labels[window], image=field.image[(0, *window)])

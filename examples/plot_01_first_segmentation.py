"""
1. A first segmentation
=======================

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
# A segmenter takes a field, a list of fields, or a stack of images, and gives a label map for each
# image. ``rms_band=-1`` says that it uses the RMS map.

segmenter = PhotutilsSegmenter(rms_band=-1, n_sigma=1, deblend=True)
labels = segmenter.predict(field)
print(f"IoU {iou_score(field.labels, labels):.3f}")
print(detection_scores(field.labels, labels))

# %%
# A source has the same colour in both maps if the segmenter found it.

window = (slice(256, 512), slice(448, 704))
SegmentationDisplay.from_predictions(
    field.labels[window], labels[window], image=field.image[(0, *window)]
)

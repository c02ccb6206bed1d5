"""
10. Embed it in your own pipeline
=================================

Write a transformer and a segmenter of your own, and combine them with the steps of scikit-learn and
galaxysegment.
"""

# %%
# A transformer needs one method, `_transform_image`; a segmenter needs `_segment_image`. The base
# classes handle stacks, lists, bands, pixels without data, and the three kinds of output.

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed
from sklearn.pipeline import make_pipeline

from galaxysegment.base import BaseImageTransformer, BaseSegmenter
from galaxysegment.catalog import source_catalog
from galaxysegment.datasets import load_sample_field
from galaxysegment.metrics import detection_scores
from galaxysegment.preprocessing import NoiseNormalizer
from galaxysegment.structures import remove_small


class MedianSmoother(BaseImageTransformer):
    """Median of the pixels around each pixel: single hot pixels vanish, edges stay."""

    _requires_fit = False  # it learns nothing

    def __init__(self, *, size=5):
        self.size = size

    def _transform_image(self, image):
        smooth = ndimage.median_filter(np.nan_to_num(image), (1, self.size, self.size))
        return np.where(np.isnan(image), np.nan, smooth)


class WatershedSegmenter(BaseSegmenter):
    """The regions around the peaks, down to a level."""

    _requires_fit = False

    def __init__(self, *, level=0.8, n_pixels=12):
        self.level = level
        self.n_pixels = n_pixels

    def _segment_image(self, image):
        bright = image[0] > self.level
        smooth = ndimage.gaussian_filter(np.nan_to_num(image[0]), 2)
        peaks = bright & (smooth == ndimage.maximum_filter(smooth, 15))
        return remove_small(watershed(-smooth, ndimage.label(peaks)[0], mask=bright), self.n_pixels)


# %%
# Your classes work in pipelines, in grid searches, and on mosaics of any size.

field = load_sample_field()
pipe = make_pipeline(NoiseNormalizer(rms_band=-1), MedianSmoother(), WatershedSegmenter())
pipe.fit(field)
labels = pipe.predict(field)
print(detection_scores(field.labels, labels))
print("IoU", round(pipe.score(field), 3))

# %%
# The results are plain arrays and tables.

catalog = source_catalog(labels, field, rms=True, zero_point=field.header["MAGZP_R"])
rows = catalog["label", "ra", "dec", "magnitude", "magnitude_error"][:3]
rows.round(4)
print(rows)

# %%
# The figure shows part of the field after each step. You can run the steps of a pipeline one by
# one.

window = (slice(0, 160), slice(0, 320))
panels = {"image": field.image[0], "after our step and yours": pipe[:-1].transform(field).image[0]}
figure, axes = plt.subplots(3, 1, figsize=(6, 9.6), layout="constrained")
for axis, (title, panel) in zip(axes, panels.items(), strict=False):
    axis.imshow(
        panel[window],
        cmap="gray",
        origin="lower",
        vmin=np.percentile(panel, 5),
        vmax=np.percentile(panel, 99.7),
    )
    axis.set_title(title)
regions = np.where(labels[window] > 0, labels[window] % 20, np.nan)
axes[2].imshow(regions, cmap="tab20", origin="lower", interpolation="nearest")
axes[2].set_title(f"{len(np.unique(labels[window])) - 1} sources by your segmenter")
for axis in axes:
    axis.set(xticks=[], yticks=[])
plt.show()

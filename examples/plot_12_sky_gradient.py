"""
12. A sky that rises across the image
=====================================

A background mesh follows a sky that changes slowly, but it is flat in the outer half of its
outermost boxes. Under moonlight a strip of sky remains at the edges, and false sources appear in
it.
"""

# %%
# Simulate a field whose sky doubles from one corner to the opposite corner.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from galaxysegment import KMeansSegmenter
from galaxysegment.datasets import make_field
from galaxysegment.metrics import detection_scores
from galaxysegment.preprocessing import (
    BackgroundSubtractor,
    GaussianSmoother,
    ImageNormalizer,
    NoiseNormalizer,
)

field = make_field((512, 512), sky_gradient=1.0, random_state=5)
image, rms, truth = field.image[0], field.rms, field.labels
blocks = np.median(image.reshape(4, 128, 4, 128), axis=(1, 3))
print("sky in electrons:", blocks.round(), sep="\n")

# %%
# ``plane=True`` subtracts a plane through the boxes first; the mesh then follows the rest. The
# images show the remaining sky in units of the noise. The lines outline the pixels that k-means on
# smoothed images calls galaxy. The RMS map is the last band and stays unchanged.

X = np.stack([image, rms])[None]
figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), sharey=True, layout="constrained")
for axis, plane in zip(axes, (False, True), strict=True):
    flatten = make_pipeline(
        BackgroundSubtractor(box_size=100, plane=plane, rms_band=-1),
        NoiseNormalizer(rms_band=-1, subtract_background=False),
    )
    flat = flatten.fit_transform(X)
    limits = ImageNormalizer(interval=(0, 3))
    segmenter = make_pipeline(GaussianSmoother(fwhm=3), limits, KMeansSegmenter(random_state=0))
    predicted = segmenter.fit(flat).predict(flat)[0]
    score = detection_scores(truth, predicted)
    sky = np.where(truth > 0, np.nan, flat[0, 0])
    print(f"plane={plane}: source F1 {score.f1:.2f}, precision {score.precision:.2f}")
    shown = axis.imshow(sky, vmin=-4, vmax=4, cmap="RdBu_r", origin="lower")
    axis.contour(predicted > 0, [0.5], colors="k", linewidths=0.6)
    axis.set_title(f"plane={plane}: source F1 {score.f1:.2f}")
figure.colorbar(shown, ax=axes, label="sky left, RMS")
plt.show()

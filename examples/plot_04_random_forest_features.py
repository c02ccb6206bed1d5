"""
4. What a random forest sees
============================

A random forest classifies each pixel on its own. `PixelFeatures` describes the texture of the
window around the pixel. Here are the six features that a forest relies on most, and its result.
"""

# %%
# Train on the left half of the sample field and test on the right half.

import matplotlib.pyplot as plt
import numpy as np

from galaxysegment import RandomForestSegmenter
from galaxysegment.datasets import load_sample_field
from galaxysegment.metrics import detection_scores, f1_score
from galaxysegment.preprocessing import PixelFeatures

field = load_sample_field()
image, labels = field.image[0], field.labels
X_train, y_train = image[None, :, :512], labels[None, :, :512]
X_test, y_test = image[None, :, 512:], labels[None, :, 512:]

# %%
# One band becomes eleven: the band, a local binary pattern, and nine Haralick features. The
# Haralick features describe how often two grey levels are neighbours in a window of 11 × 11 pixels.

features = PixelFeatures().fit(X_train)
print(features.get_feature_names_out())

# %%
# `RandomForestSegmenter` computes the same features after dividing the image by its noise. It
# learns from a sample of pixels in which galaxy pixels are as rare as in the image. A balanced
# sample would make it see galaxies everywhere.

forest = RandomForestSegmenter(n_estimators=40, n_samples=40_000, random_state=0).fit(
    X_train, y_train
)
predicted = forest.predict(X_test)
print(f"pixel F1 {f1_score(y_test, predicted):.3f}")
print(detection_scores(y_test, predicted))

# %%
# The panels show the six features that the forest relies on most, the probability, and the truth.
# No single feature separates galaxies from noise. Bright galaxies stand out in most features, faint
# galaxies in few.

window = (slice(320, 512), slice(0, 192))
maps = features.transform(X_test)[0]
panels = {}
for index in np.argsort(forest.feature_importances_)[:-7:-1]:
    name = forest.feature_names_[index].replace("_", " ")
    panels[f"{name} ({forest.feature_importances_[index]:.0%})"] = maps[index][window]
panels["probability"] = forest.predict_proba(X_test)[0][window]
panels["truth"] = np.where(y_test[0][window] > 0, 1.0, 0.0)

figure, axes = plt.subplots(2, 4, figsize=(11, 5.8), layout="constrained")
for axis, (title, panel) in zip(axes.flat, panels.items(), strict=True):
    low, high = np.percentile(panel, [1, 99])
    axis.imshow(panel, vmin=low, vmax=high, cmap="magma", origin="lower")
    axis.set_title(title, fontsize="medium")
    axis.set(xticks=[], yticks=[])
plt.show()

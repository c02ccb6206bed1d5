"""
What a random forest sees
=========================

A random forest judges every pixel on its own, so the pixel has to bring its surroundings along: `PixelFeatures`
describes the texture of the window around it. Here are these features, and which of them the forest used.
"""

# %%
# The left half of the sample field is for training, the right half for testing.

import matplotlib.pyplot as plt
import numpy as np

from galaxysegment import RandomForestSegmenter
from galaxysegment.datasets import load_sample_field
from galaxysegment.display import SegmentationDisplay
from galaxysegment.metrics import detection_scores, f1_score
from galaxysegment.preprocessing import PixelFeatures

field = load_sample_field()
image, labels = field.image[0], field.labels
X_train, y_train = image[None, :, :512], labels[None, :, :512]
X_test, y_test = image[None, :, 512:], labels[None, :, 512:]

# %%
# One band becomes eleven: the band, a local binary pattern, and nine statistics of how often which grey levels
# are neighbours in a window of 11 × 11 pixels (Haralick features). No single one of them separates galaxies from
# noise. Bright galaxies stand out in most of them; a faint one in few, which are not the same for its core and its rim.

features = PixelFeatures().fit(X_train)
window = (slice(320, 512), slice(0, 192))
maps = features.transform(X_test)[0][:, *window]
figure, axes = plt.subplots(3, 4, figsize=(11, 8.5), layout="constrained")
for axis, name, feature in zip(axes.flat, features.get_feature_names_out(), maps, strict=False):
    low, high = np.percentile(feature, [1, 99])
    axis.imshow(feature, vmin=low, vmax=high, cmap="magma", origin="lower")
    axis.set_title(name.replace("_", " "), fontsize="medium")
axes.flat[-1].imshow(y_test[0][window] > 0, cmap="gray", origin="lower")
axes.flat[-1].set_title("truth", fontsize="medium")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
figure.suptitle("The eleven features of one patch, and the truth")
plt.show()

# %%
# `RandomForestSegmenter` computes the same features of the image in units of its noise. It learns from a sample of the
# pixels in which galaxy pixels are as rare as in the sky: that keeps it from seeing galaxies everywhere.

forest = RandomForestSegmenter(n_estimators=60, n_samples=40_000, random_state=0).fit(X_train, y_train)
predicted = forest.predict(X_test)
print(f"pixel F1 {f1_score(y_test, predicted):.3f}")
print(detection_scores(y_test, predicted))

# %%
# Which features the forest splits by, and what it finds.

order = np.argsort(forest.feature_importances_)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
left.barh([forest.feature_names_[k].replace("_", " ") for k in order], forest.feature_importances_[order])
left.set_title("importance (mean decrease in impurity)")
SegmentationDisplay.from_predictions(y_test[0], predicted[0], image=X_test[0])
right.imshow(forest.predict_proba(X_test)[0], cmap="magma", vmin=0, vmax=1, origin="lower")
right.contour(y_test[0] > 0, levels=[0.5], colors="white", linewidths=0.3)
right.set(title="probability; the true sources are outlined", xticks=[], yticks=[])
plt.show()

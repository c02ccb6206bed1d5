"""
5. Train a U-Net and keep it
============================

Train a small U-Net on a simulated field, look at its losses, and save it in a file that you can
load without running any code from it.
"""

# %%
# Simulate two fields with their exact truth: one to learn from, cut into patches, and one to test
# on.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from galaxysegment.datasets import make_field
from galaxysegment.display import SegmentationDisplay
from galaxysegment.metrics import detection_scores
from galaxysegment.persistence import load, save
from galaxysegment.segmenters import UNetSegmenter

X_train, y_train = make_field((640, 640), random_state=3).patches(size=128)
test = make_field((256, 384), random_state=4)
X_test, y_test = test.image, test.labels[None]
print(X_train.shape, X_test.shape)

# %%
# At the end, `UNetSegmenter` restores the weights with the smallest loss on the held-out images
# (`validation_fraction`) and chooses the threshold on them. This net sees 25 patches for seconds;
# for a survey, train on some hundred patches for ten minutes.

unet = UNetSegmenter(base_width=8, depth=4, max_epochs=25, batch_size=4, random_state=0)
unet.fit(X_train, y_train)
print(f"own training: IoU {unet.score(X_test, y_test):.3f}")

# %%
# The shipped weights were trained on many depths, pixel scales and PSFs. They take one band in any
# unit and need no training.

ready = UNetSegmenter(weights="vis", deblend=True)
print(f"shipped weights: IoU {ready.score(X_test, y_test):.3f}")

# %%
# One file holds the parameters and the weights. Loading makes arrays and estimators, and runs no
# code from the file.

with tempfile.TemporaryDirectory() as folder:
    save(unet, Path(folder, "unet.safetensors"))
    again = load(Path(folder, "unet.safetensors"))
predicted = again.predict(X_test)
print(detection_scores(y_test, predicted))

# %%
# The losses come from ``history_`` of skorch. Below them are truth and prediction.

figure = plt.figure(figsize=(10, 6.4), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.05])
curves = top.subplots()
epochs = [row["epoch"] for row in unet.history_]
for key, label in {"train_loss": "training images", "valid_loss": "held-out images"}.items():
    curves.plot(epochs, [row[key] for row in unet.history_], label=label)
curves.set(xlabel="epoch", ylabel="cross-entropy + Dice loss")
curves.legend()
SegmentationDisplay.from_predictions(
    y_test[0], predicted[0], image=X_test[0], axes=bottom.subplots(1, 3)
)
plt.show()

"""
Train, tune and keep a U-Net
============================

Use the weights that ship with the package, train a small U-Net of your own, look at how it learned,
and keep it in a file that runs no code when it is loaded.
"""

# %%
# Two simulated fields with their exact truth: one to learn from, cut into patches, and one to test on.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from galaxysegment.datasets import make_field
from galaxysegment.display import SegmentationDisplay
from galaxysegment.metrics import detection_scores, iou_score
from galaxysegment.persistence import load, save
from galaxysegment.segmenters import UNetSegmenter

X_train, y_train = make_field((768, 768), random_state=3).patches(size=128)
field = make_field((512, 512), random_state=4)
X_test, y_test = field.image, field.labels[None]
print(X_train.shape, X_test.shape)

# %%
# No training at all: the weights ``"vis"`` saw many simulated depths, pixel scales and PSFs. They want one band
# in any units and estimate background and noise themselves.

ready = UNetSegmenter(weights="vis")
print(f"shipped weights: IoU {ready.score(X_test, y_test):.3f}")

# %%
# A small net of our own. The best weights by the loss on the held-out images (`validation_fraction`) are
# restored at the end; `history_` is skorch's.

unet = UNetSegmenter(base_width=8, depth=4, max_epochs=30, batch_size=4, random_state=0)
unet.fit(X_train, y_train)
print(f"own training: IoU {unet.score(X_test, y_test):.3f}")

fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
for key in ("train_loss", "valid_loss"):
    ax.plot([row["epoch"] for row in unet.history_], [row[key] for row in unet.history_], label=key)
ax.set(xlabel="epoch", ylabel="cross-entropy + Dice loss")
ax.legend()

# %%
# Thirty-six patches teach less than the simulations behind the shipped weights. Training can start from those: at a
# low rate, a few epochs fit them to one survey without forgetting the rest.

tuned = UNetSegmenter(weights="vis", max_epochs=5, lr=1e-4, batch_size=4, random_state=0)
tuned.fit(X_train, y_train)
print(f"fine-tuned: IoU {tuned.score(X_test, y_test):.3f}")
print(detection_scores(y_test, tuned.predict(X_test)))

# %%
# One file holds the parameters and the weights. Loading it makes arrays and estimators, and runs nothing.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "unet.safetensors")
    save(tuned, path)
    again = load(path)
print(f"loaded: IoU {iou_score(y_test, again.predict(X_test)):.3f}")

# %%
# The picture: image, truth, prediction.

SegmentationDisplay.from_predictions(y_test[0], again.predict(X_test)[0], image=X_test[0])

"""
3. Choose a model by cross-validation
=====================================

Compare five segmenters, from k-means to a net, on images that they have not seen.
"""

# %%
# You take patches of the sample field: the image and, as its last band, the RMS map. Neighbouring
# patches share galaxies at their edges, so you hold out whole columns of the field.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline

from galaxysegment import (
    KMeansSegmenter,
    NoSourcesWarning,
    PhotutilsSegmenter,
    RandomForestSegmenter,
    SEPSegmenter,
    UNetSegmenter,
)
from galaxysegment.datasets import load_sample_field
from galaxysegment.metrics import get_scorer
from galaxysegment.preprocessing import BandSelector, GaussianSmoother, NoiseNormalizer

X, y = load_sample_field().patches(size=128, rms=True)
columns = np.arange(len(X)) % 8
print(X.shape, "patches in", len(set(columns)), "columns")

# %%
# A model is a segmenter, or a pipeline that ends in a segmenter. K-means ignores the noise, so it
# gets smoothed images in units of the noise. The U-Net starts from its shipped weights and sees the
# training images twice.

models = {
    "k-means": make_pipeline(
        NoiseNormalizer(rms_band=-1, stretch="asinh"),
        GaussianSmoother(fwhm=3),
        KMeansSegmenter(random_state=0),
    ),
    "photutils": PhotutilsSegmenter(rms_band=-1, n_sigma=1, deblend=True),
    "SExtractor (sep)": SEPSegmenter(rms_band=-1, n_sigma=1, deblend=True),
    "random forest": make_pipeline(
        BandSelector(bands=0),
        RandomForestSegmenter(n_estimators=30, n_samples=30_000, deblend=True, random_state=0),
    ),
    "U-Net, fine-tuned": UNetSegmenter(
        weights="vis", n_views=1, max_epochs=2, lr=1e-4, rms_band=-1, deblend=True, random_state=0
    ),
}

# %%
# The IoU counts pixels of galaxies, the detection F1 counts galaxies.

warnings.simplefilter("ignore", NoSourcesWarning)
scoring = {"iou": get_scorer("iou"), "detection_f1": get_scorer("detection_f1")}
folds = GroupKFold(n_splits=4)
results = {
    name: cross_validate(model, X, y, groups=columns, scoring=scoring, cv=folds)
    for name, model in models.items()
}

figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
for offset, (score, label) in enumerate({"iou": "pixel IoU", "detection_f1": "source F1"}.items()):
    values = [result[f"test_{score}"] for result in results.values()]
    places = np.arange(len(models)) + 0.36 * (offset - 0.5)
    axis.barh(
        places,
        np.mean(values, axis=1),
        height=0.32,
        xerr=np.std(values, axis=1),
        capsize=3,
        label=label,
    )
axis.set(
    yticks=range(len(models)),
    yticklabels=models,
    xlim=(0, 1),
    xlabel="mean and spread over four folds",
)
axis.invert_yaxis()
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

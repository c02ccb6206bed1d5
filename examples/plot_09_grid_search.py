"""
9. Tune a threshold with GridSearchCV
=====================================

Segmenters are scikit-learn estimators: `~sklearn.model_selection.GridSearchCV` chooses their
parameters by any of the scorers in `galaxysegment.metrics`.
"""

# %%
# You take patches of the sample field, with the RMS map as their last band, and their label maps.

import warnings

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV

from galaxysegment import NoSourcesWarning, PhotutilsSegmenter
from galaxysegment.datasets import load_sample_field
from galaxysegment.metrics import get_scorer

X, y = load_sample_field().patches(size=128, rms=True)
print(X.shape, y.shape)

# %%
# A low threshold includes more pixels of each source, and more noise. The best threshold depends on
# the score: the IoU counts pixels, the detection F1 counts sources.

warnings.simplefilter("ignore", NoSourcesWarning)
thresholds = [0.5, 0.7, 0.9, 1.1, 1.5, 2.0, 3.0]
scoring = {name: get_scorer(name) for name in ("iou", "dice", "detection_f1")}
search = GridSearchCV(
    PhotutilsSegmenter(rms_band=-1, deblend=True),
    {"n_sigma": thresholds},
    scoring=scoring,
    refit="iou",
    cv=4,
).fit(X, y)
print(f"best by IoU: {search.best_params_}, {search.best_score_:.3f}")

# %%
# The curves show the mean and the spread over the folds.

figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
for name in scoring:
    mean, spread = (search.cv_results_[f"{kind}_test_{name}"] for kind in ("mean", "std"))
    axis.errorbar(thresholds, mean, spread, marker="o", capsize=3, label=name)
axis.set(
    xlabel="threshold [sigma of the unsmoothed noise]",
    ylabel="score, mean of 4 folds",
    xscale="log",
)
axis.set_xticks(thresholds, thresholds)
axis.minorticks_off()
axis.legend()
plt.show()

"""Train the boosted trees that decide which peaks belong to a galaxy.

Run ``python -m benchmarks.train_galaxy_trees galaxy_trees.npz``. Simulated scenes are segmented as
`PhotutilsSegmenter` and `UNetSegmenter` would, the truth of each peak is the source whose light
makes it rise over its saddle.

The trees come in two groups. The first learns from `N_FIRST` plain scenes and does not see the
other peaks of a galaxy. The second learns from all scenes, those of `make_sky` too, and sees them.
See `galaxysegment.detection._galaxy_judge.probability`. The first group that ships was trained when
the first host of a source was found by other rules: this script gives slightly different trees.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy import ndimage

from benchmarks.galaxy_scenes import make_scene
from galaxysegment.detection import _galaxies, _galaxy_judge
from galaxysegment.structures import label_components

NO_TREES = (
    *(np.zeros(1, t) for t in (int, float, int, int, float)),
    np.zeros((2, 0), int),
    np.zeros(2),
)
HELD_OUT = 10**6  # seeds from here on are not trained on
N_FIRST = 1800  # scenes of the first group


def smoothed_fields(light, image, sigma):
    """Light of each source, and the image, after the kernel."""
    return (
        np.array([ndimage.gaussian_filter(layer.astype(float), sigma) for layer in light]),
        ndimage.gaussian_filter(image.astype(float), sigma),
    )


def part_sources(light, peak, saddle_pixel, values):
    """Index of the source that makes each peak rise over its saddle.

    A peak that no source makes rise, as noise does, belongs to the brightest source there.
    """
    flat = light.reshape(len(light), -1)
    at_peak = flat[:, peak]
    saddle = np.maximum(saddle_pixel, 0)
    rise = at_peak - np.where(saddle_pixel >= 0, flat[:, saddle], 0)
    best = rise.argmax(axis=0)
    measured = values[peak] - np.where(saddle_pixel >= 0, values[saddle], 0)
    share = rise.max(axis=0) / np.maximum(measured, 1e-9)
    return np.where(share > 0.35, best, at_peak.argmax(axis=0))


def examples(scene, rng):
    """Features and truths of all comparisons of a scene."""
    sigma = rng.choice([1.0, 1.27, 1.5])
    light, image = smoothed_fields(scene.light, scene.image, sigma)
    labels = label_components(image > rng.uniform(0.4, 1.7))
    tables = []
    for label, window in enumerate(ndimage.find_objects(labels), 1):
        own = labels[window] == label
        if own.sum() < 20:
            continue
        parts = _galaxies.find_parts(image[window], own, 10, 8)
        if parts is None or parts[1][1].size < 2:
            continue
        scaled, (_, peak, saddle, saddle_pixel, winner) = parts
        teacher = part_sources(
            light[(slice(None), *window)], peak, saddle_pixel, image[window].ravel()
        )
        rows = np.zeros((3 * peak.size, 2 + _galaxy_judge.N_FEATURES))
        *_, n_rows = _galaxy_judge.judge_parts(
            scaled,
            own,
            peak,
            saddle,
            saddle_pixel,
            winner,
            1.0,
            _galaxies.LIMIT,
            NO_TREES,
            teacher.astype(np.int64),
            rows,
        )
        tables.append(rows[:n_rows])
    return tables


def _table_of(seed, rich):
    return examples(make_scene(seed, rich=rich), np.random.default_rng([seed, 7]))


def collect(seeds, n_jobs=1, rich=False):
    """Features and truths of all comparisons of the scenes of some seeds."""
    tables = Parallel(n_jobs=n_jobs)(delayed(_table_of)(seed, rich) for seed in seeds)
    table = np.concatenate([part for parts in tables for part in parts])
    return table[:, 2:].astype(np.float32), table[:, 1]


def fit_trees(X, y, n_trees):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=n_trees,
        max_leaf_nodes=16,
        learning_rate=0.1,
        l2_regularization=1.0,
        min_samples_leaf=40,
        random_state=0,
        early_stopping=False,
    ).fit(X, y)


def as_arrays(models):
    """Nodes of all trees of HistGradientBoostingClassifiers, one after the other."""
    fields = {name: [] for name in ("feature", "threshold", "low", "high", "value")}
    starts, n = [], 0
    for model in models:
        starts.append([])
        for (predictor,) in model._predictors:
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            starts[-1].append(n)
            fields["feature"].append(np.where(leaf, -1, nodes["feature_idx"]))
            fields["threshold"].append(nodes["num_threshold"])
            fields["low"].append(nodes["left"] + n)
            fields["high"].append(nodes["right"] + n)
            fields["value"].append(np.where(leaf, nodes["value"], 0))
            n += len(nodes)
    types = {
        "feature": np.int8,
        "low": np.int16,
        "high": np.int16,
        "threshold": np.float32,
        "value": np.float32,
    }
    arrays = {name: np.concatenate(parts).astype(types[name]) for name, parts in fields.items()}
    bias = np.array([float(np.ravel(model._baseline_prediction)[0]) for model in models])
    return arrays | {"starts": np.array(starts, np.int16), "bias": bias}


def log_odds(X, models):
    """Log odds that each part belongs, as `_galaxy_judge.probability` joins both groups."""
    alone = models[0].decision_function(X[:, : _galaxy_judge.N_ALONE])
    is_faint = X[:, 5] < _galaxy_judge.KNOT_LIGHT
    among = np.where(is_faint, models[1].decision_function(X), alone)
    return alone + _galaxy_judge.TRUST * (among - alone)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--n", type=int, default=2400)
    parser.add_argument("--rich", type=int, default=500, help="scenes of make_sky beside them")
    parser.add_argument("--trees", type=int, default=200, help="of each group")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    from sklearn.metrics import roc_auc_score

    start = time.process_time()
    n_first = min(N_FIRST, arguments.n)
    X, y = collect(range(n_first), arguments.n_jobs)
    models = [fit_trees(X[:, : _galaxy_judge.N_ALONE], y, arguments.trees)]
    more = [
        collect(seeds, arguments.n_jobs, rich)
        for seeds, rich in ((range(n_first, arguments.n), False), (range(arguments.rich), True))
        if len(seeds)
    ]
    X, y = (np.concatenate(parts) for parts in zip((X, y), *more, strict=True))
    print(f"{len(X)} comparisons, {y.mean():.3f} belong; {time.process_time() - start:.0f} s")
    models.append(fit_trees(X, y, arguments.trees))
    held = collect(range(HELD_OUT, HELD_OUT + max(arguments.n // 10, 1)), arguments.n_jobs)
    for name, (features, wanted) in (("training", (X, y)), ("held out", held)):
        odds = log_odds(features, models)
        wrong = (odds > 0) != (wanted > 0.5)
        print(
            f"{name}: AUC {roc_auc_score(wanted, odds):.4f}; wrong of parts that belong "
            f"{wrong[wanted > 0.5].mean():.4f}, of others {wrong[wanted < 0.5].mean():.4f}"
        )
    np.savez_compressed(arguments.output, **as_arrays(models))
    print(arguments.output.stat().st_size, "bytes", f"{time.process_time() - start:.0f} s")


if __name__ == "__main__":
    main()

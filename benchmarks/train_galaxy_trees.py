"""Train the boosted trees that decide which peaks belong to a galaxy.

Run ``python -m benchmarks.train_galaxy_trees galaxy_trees.npz``. Simulated scenes are segmented as
`PhotutilsSegmenter` and `UNetSegmenter` would, the truth of each peak is the source whose light
makes it rise over its saddle.
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

NO_TREES = (*(np.zeros(1, t) for t in (int, float, int, int, float)), np.zeros(0, int), 0.0)
HELD_OUT = 10**6  # seeds from here on are not trained on


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


def _table_of(seed):
    return examples(make_scene(seed), np.random.default_rng([seed, 7]))


def collect(seeds, n_jobs=1):
    """Features and truths of all comparisons of the scenes of some seeds."""
    tables = Parallel(n_jobs=n_jobs)(delayed(_table_of)(seed) for seed in seeds)
    table = np.concatenate([part for parts in tables for part in parts])
    return table[:, 2:], table[:, 1]


def as_arrays(model):
    """Nodes of all trees of a HistGradientBoostingClassifier, one after the other."""
    fields = {name: [] for name in ("feature", "threshold", "low", "high", "value")}
    starts, n = [], 0
    for (predictor,) in model._predictors:
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        starts.append(n)
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
    bias = float(np.ravel(model._baseline_prediction)[0])
    return arrays | {"starts": np.array(starts, np.int16), "bias": np.float64(bias)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--n", type=int, default=1800)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    start = time.process_time()
    X, y = collect(range(arguments.n), arguments.n_jobs)
    held, truth = collect(range(HELD_OUT, HELD_OUT + arguments.n // 10), arguments.n_jobs)
    print(f"{len(X)} comparisons, {y.mean():.3f} belong; {time.process_time() - start:.0f} s")
    model = HistGradientBoostingClassifier(
        max_iter=arguments.trees,
        max_leaf_nodes=16,
        learning_rate=0.1,
        l2_regularization=1.0,
        min_samples_leaf=40,
        random_state=0,
        early_stopping=False,
    ).fit(X, y)
    for name, features, wanted in (("training", X, y), ("held out", held, truth)):
        chance = model.predict_proba(features)[:, 1]
        wrong = (chance > 0.5) != (wanted > 0.5)
        print(
            f"{name}: AUC {roc_auc_score(wanted, chance):.4f}; wrong of parts that belong "
            f"{wrong[wanted > 0.5].mean():.4f}, of others {wrong[wanted < 0.5].mean():.4f}"
        )
    np.savez_compressed(arguments.output, **as_arrays(model))
    print(arguments.output.stat().st_size, "bytes", f"{time.process_time() - start:.0f} s")


if __name__ == "__main__":
    main()

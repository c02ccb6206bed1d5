"""Conditions that nothing was trained for.

Disturbed fields of setting A, and fields of other telescopes.
"""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from galaxysegment.structures import Instances

from .fields import Patches, cut_labels, observe, windows, without_sky
from .scores import centres, count_sources, detection, pixel_scores, select
from .settings import disturbed
from .systems import predict, predict_many, set_last

SIZE = 256


def robustness(estimator, setting, seed, scale):
    """Scores on disturbed fields, without training again."""
    rows = {}
    for name, patches in disturbed(seed, scale).items():
        predicted = predict(estimator, patches.X)
        counted, seen = count_sources(patches.truth, predicted, setting.n_pixels)
        rows[name] = {
            "iou": pixel_scores(patches, predicted, setting.n_pixels)["mean"]["iou"],
            "f1": detection(select(patches, counted)[0], seen)["f1"],
        }
    return rows


# ---- fields that nothing was tuned on ----


def unseen(estimator, system, setting, seed, scale):
    """Completeness and purity for every value of the swept parameter: by field, lists."""
    return {
        name: sweep(estimator, system, setting, *field)
        for name, field in unseen_fields(seed, scale).items()
    }


@lru_cache(maxsize=1)
def unseen_fields(seed, scale):
    """Patches with the positions of the sources that should be found, and of all that are really
    there.
    """
    side = {"full": 1024, "small": 512, "tiny": 256}[scale]
    field, sources = observe(
        (side, side),
        2900 + 1000 * seed,
        pixel_scale=0.2,
        psf_fwhm=0.7,
        density=30.0,
        star_fraction=0.15,
        depth=26.0,
        sky_level=2000.0,
        sky_gradient=0.1,
    )
    fields = {"ground": _with_positions(field, sources["x"], sources["y"])}
    folder = Path(os.environ.get("GALAXYSEGMENT_DATA", "")) / "sim_galsim_fields"
    if os.environ.get("GALAXYSEGMENT_DATA") and folder.is_dir():
        fields["galsim"] = _galsim_field(folder)
    return fields


def _with_positions(field, x, y):
    return cut_labels(without_sky(field), SIZE), _positions(x, y, field.shape)


def _galsim_field(folder):
    """HST galaxies drawn by another simulator: r band, with its defects."""
    from galaxysegment.io import read_field

    field = without_sky(read_field(folder / "dev_r.fits.fz", labels=folder / "dev_truth.fits.fz"))
    X, y = field.patches(SIZE, rms=True)
    catalog = field.catalog
    names = {name.lower(): name for name in catalog.colnames}
    truth = [Instances.from_label_map(target) for target in y]
    empty = [np.zeros(len(sources)) for sources in truth]
    where = (catalog[names["x"]], catalog[names["y"]])
    return Patches(X, y, truth, list(y), empty, empty), _positions(*where, field.shape)


def _positions(x, y, shape):
    positions = np.column_stack([np.asarray(y, dtype=float), np.asarray(x, dtype=float)])
    inside = []
    for rows, columns in windows(shape, SIZE):
        shifted = positions - (rows.start, columns.start)
        inside.append(shifted[((shifted > -0.5) & (shifted < SIZE - 0.5)).all(axis=1)])
    return inside


def sweep(estimator, system, setting, patches, positions):
    """Completeness of the true sources and purity of the predicted, for each value of the sweep."""
    name, values = system.sweep
    before = estimator[-1].get_params()
    counted, _ = count_sources(
        patches.truth, [sources.select([]) for sources in patches.truth], setting.n_pixels
    )
    truth = [sources.select(keep) for sources, keep in zip(patches.truth, counted, strict=True)]
    if name == "scores":
        predicted = predict(set_last(estimator, values), patches.X)
        cuts = np.unique(
            np.quantile(
                np.concatenate([prediction.scores for prediction in predicted]),
                np.linspace(0, 0.98, 25),
            )
        )
        sets = [
            [prediction.select(prediction.scores >= cut) for prediction in predicted]
            for cut in cuts
        ]
    else:
        cuts = values
        sets = list(predict_many(estimator, patches.X, [{name: value} for value in values]))
    set_last(estimator, before)
    rows = [compare_positions(truth, positions, predicted) for predicted in sets]
    return {
        "cut": [float(cut) for cut in cuts],
        "completeness": [item for item, _ in rows],
        "purity": [item for _, item in rows],
    }


def compare_positions(truth, positions, detected, radius=3.0):
    """Completeness and purity by position, so that no convention of masks matters.

    A predicted and a real source match one to one where their centres are at most 3 pixels apart,
    or half the radius of a large source. Completeness is the matched share of the true sources that
    count; purity is the share of the predicted ones that match any source that is really there,
    labelled or too faint for it.
    """
    n_true = n_found = n_pred = n_real = 0
    for sources, there, predicted in zip(truth, positions, detected, strict=True):
        here = centres(predicted)
        reach = np.maximum(radius, 0.5 * np.sqrt(sources.areas / np.pi))
        hits = pair_nearest(centres(sources), here, reach)
        n_true, n_found, n_pred = n_true + len(sources), n_found + len(hits), n_pred + len(here)
        rest = np.setdiff1d(np.arange(len(here)), [second for _, second in hits]).astype(int)
        spare = there[~_near(there, centres(sources))] if len(sources) else there
        n_real += len(hits) + len(pair_nearest(spare, here[rest], np.full(len(spare), radius)))
    return n_found / max(n_true, 1), n_real / max(n_pred, 1)


def _near(points, others, radius=2.0):
    """Which points are the labelled sources themselves."""
    return cKDTree(others).query(points)[0] < radius if len(points) else np.zeros(0, dtype=bool)


def pair_nearest(first, second, reach):
    """Pair points one to one, nearest first, where the first's reach allows it."""
    if len(first) == 0 or len(second) == 0:
        return []
    distance = np.hypot(*(first[:, None] - second[None]).transpose(2, 0, 1))
    pairs, used = [], (set(), set())
    for flat in np.argsort(distance, axis=None):
        i, j = np.unravel_index(flat, distance.shape)
        if distance[i, j] > max(reach):
            break
        if distance[i, j] <= reach[i] and i not in used[0] and j not in used[1]:
            pairs.append((i, j))
            used[0].add(i)
            used[1].add(j)
    return pairs

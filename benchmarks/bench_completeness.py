"""Completeness by injection beside the true completeness of simulated fields.

    python benchmarks/bench_completeness.py [--injected 10000] [--fields 8]

The truth: all galaxies of fields (`make_field`), labelled or not, with no other source that the
segmenter finds within 15 pixels, and the fraction of them that it finds, by position. The
injection: galaxies of the same sizes and shapes in one such field. Printed are the true fraction of
each quarter of a magnitude and how the fractions of the injection differ from it: as counted,
smoothed, and with regression.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from galaxysegment import PhotutilsSegmenter
from galaxysegment.catalog import source_catalog
from galaxysegment.completeness import injection_completeness
from galaxysegment.datasets import make_field
from galaxysegment.datasets._field import make_scene
from galaxysegment.datasets._scene import Camera
from galaxysegment.metrics import fraction_curve, match_positions
from galaxysegment.structures import GALAXY

CAMERA = {"pixel_scale": 0.2, "psf_fwhm": 0.7}
RADIUS = 3.0
DENSITY = 25.0  # labelled sources per square arcminute
CLEAR = 15  # pixels without other sources around a galaxy
SEEN = 26.0  # magnitude of the faintest sources that are found more often than not
OWN = 5.0  # pixels from a galaxy to the centre of the source that it is part of


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--injected", type=int, default=10_000, help="galaxies (%(default)s)")
    parser.add_argument("--fields", type=int, default=8, help="2048² fields of truth (%(default)s)")
    parser.add_argument("--side", type=int, default=2048, help="pixels of a field (%(default)s)")
    parser.add_argument("--truth", type=Path, default=None, help=".npz file that keeps the truth")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    segmenter = PhotutilsSegmenter(n_sigma=1.5, box_size=50, deblend=True)
    field = field_of(0, arguments.side)
    zero_point = field.header["MAGZP_R"]
    edges = np.arange(22.0, 27.01, 0.25)
    start = time.perf_counter()
    curve = injection_completeness(
        segmenter,
        np.asarray(field.image),
        zero_point=zero_point,
        bins=edges,
        n_galaxies=arguments.injected,
        random_state=0,
        radius=RADIUS,
        clearance=CLEAR,
        gain=1.0,
        adaptive=True,
        method="regression",
        **CAMERA,
    )
    minutes = (time.perf_counter() - start) / 60
    truth = true_curve(segmenter, edges, arguments)
    report(curve, truth)
    print(f"{minutes:.1f} minutes; truth of {truth.n.sum()} galaxies")


def report(curve, truth):
    """Print the truth beside what was counted, and the two estimates from it."""
    with np.errstate(invalid="ignore"):
        counted = curve.n_hit / curve.n
        error = np.sqrt(truth.fraction * (1 - truth.fraction) / truth.n)
    smooth = curve.smoothed().fraction
    print("magnitude    truth   error       n  counted  smoothed  regression  error")
    for row in zip(
        *(curve.centres, truth.fraction, error, curve.n, counted - truth.fraction),
        *(smooth - truth.fraction, curve.fraction - truth.fraction),
        (curve.high - curve.low) / 2,
        strict=True,
    ):
        print("{:9.3f}{:9.3f}{:8.3f}{:8d}{:+9.3f}{:+10.3f}{:+12.3f}{:7.3f}".format(*row))
    for name, fraction in (
        ("counted", counted), ("smoothed", smooth), ("regression", curve.fraction)
    ):  # fmt: skip
        print(f"{name}: largest difference {np.nanmax(np.abs(fraction - truth.fraction)):.3f}")
    print(
        f"50 % at {curve.limit(0.5):.3f} (truth {truth.limit(0.5):.3f}), 90 % at "
        f"{curve.limit(0.9):.3f} (truth {truth.limit(0.9):.3f})"
    )


def field_of(seed, side):
    return make_field((side, side), density=DENSITY, random_state=seed, **CAMERA)


def true_curve(segmenter, edges, arguments):
    """Return the truth; with ``--truth FILE``, fields that are in the file are not made again."""
    path = arguments.truth
    known = {} if path is None or not path.exists() else dict(np.load(path))
    for seed in range(1, arguments.fields + 1):
        if f"mag_{seed}" not in known:
            known[f"mag_{seed}"], known[f"hit_{seed}"] = true_hits(segmenter, seed, arguments.side)
            if path is not None:
                np.savez(path, **known)
    magnitudes, hits = (
        np.concatenate([known[f"{name}_{seed}"] for seed in range(1, arguments.fields + 1)])
        for name in ("mag", "hit")
    )
    return fraction_curve(magnitudes, hits, edges)


def true_hits(segmenter, seed, side):
    """Return magnitudes of the galaxies of a field that lie alone, and which were found."""
    field = field_of(seed, side)
    labels = segmenter.predict(np.asarray(field.image).reshape(1, *field.shape))[0]
    predicted = source_catalog(labels, field.image, background="mesh")
    centres = np.column_stack([predicted["y"], predicted["x"]])
    truth = all_sources(seed, side)
    places = np.column_stack([truth["y"], truth["x"]])
    i, _ = match_positions(places, centres, RADIUS)
    is_hit = np.zeros(len(truth), dtype=bool)
    is_hit[i] = True
    inside = (places > 30).all(axis=1) & (places < side - 30).all(axis=1)
    seen = truth["mag"] < SEEN
    distance, neighbor = cKDTree(places[seen]).query(places, k=2)
    is_self = np.flatnonzero(seen)[neighbor[:, 0]] == np.arange(len(places))
    inside &= np.where(is_self, distance[:, 1], distance[:, 0]) > CLEAR
    use = np.flatnonzero(inside & (truth["class"] == GALAXY))
    use = use[[is_alone(place, labels, centres) for place in places[use]]]
    return truth["mag"][use], is_hit[use]


def is_alone(place, labels, centres):
    """Whether no pixel of another source that was found is near."""
    y, x = np.rint(place).astype(int)
    window = labels[y - CLEAR : y + CLEAR + 1, x - CLEAR : x + CLEAR + 1]
    rows, columns = np.nonzero(window)
    near = np.hypot(rows - CLEAR, columns - CLEAR) <= CLEAR
    present = np.unique(window[rows[near], columns[near]])
    return bool((np.linalg.norm(centres[present - 1] - place, axis=1) <= OWN).all())


def all_sources(seed, side):
    """Return every source of a field, seen or not; the catalog has the labelled ones only."""
    camera = Camera(*CAMERA.values(), "r", (500.0,), (27.0,), 9.0)
    return make_scene((side, side), camera, seed, DENSITY, 0.03, 0.05, 10).sources()


if __name__ == "__main__":
    main()

"""Completeness by injection beside the true completeness of simulated fields.

    python benchmarks/bench_completeness.py [--injected 10000] [--fields 8]

The truth: all galaxies of fields (`make_field`), labelled or not, that lie alone, and the fraction
of them that the segmenter finds, by position. The injection: galaxies of the same sizes and shapes
in one such field. Printed are both fractions in each quarter of a magnitude, their difference, the
standard deviation of the difference from counting, and the minutes.
"""

import argparse
import time
import warnings

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
ALONE = 25  # pixels to the next source that could be seen
FAINTEST = 26.5  # magnitude of such a source


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--injected", type=int, default=10_000, help="galaxies (%(default)s)")
    parser.add_argument("--fields", type=int, default=8, help="2048² fields of truth (%(default)s)")
    parser.add_argument("--side", type=int, default=2048, help="pixels of a field (%(default)s)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    segmenter = PhotutilsSegmenter(deblend=True)
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
        gain=1.0,
        **CAMERA,
    )
    minutes = (time.perf_counter() - start) / 60
    truth = true_curve(segmenter, edges, arguments)
    print("magnitude  injected     n     truth     n   difference   sigma")
    differences, pulls = [], []
    for row in zip(curve.centres, curve.fraction, curve.n, truth.fraction, truth.n, strict=True):
        centre, injected, n, true, m = row
        pooled = (injected * n + true * m) / (n + m)
        sigma = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / max(m, 1)))
        differences.append(injected - true)
        pulls.append((injected - true) / sigma if sigma > 0 else 0.0)
        print(
            f"{centre:9.3f}{injected:10.3f}{n:6d}{true:10.3f}{m:6d}{injected - true:13.3f}"
            f"{sigma:8.3f}"
        )
    print(
        f"largest difference {np.nanmax(np.abs(differences)):.3f}, rms pull "
        f"{np.sqrt(np.nanmean(np.square(pulls))):.2f}; 50 % at {curve.limit(0.5):.2f} (truth "
        f"{truth.limit(0.5):.2f}), 90 % at {curve.limit(0.9):.2f} (truth {truth.limit(0.9):.2f}); "
        f"{minutes:.1f} minutes"
    )


def field_of(seed, side):
    return make_field((side, side), density=DENSITY, random_state=seed, **CAMERA)


def true_curve(segmenter, edges, arguments):
    magnitudes, hits = [], []
    for seed in range(1, arguments.fields + 1):
        field = field_of(seed, arguments.side)
        labels = segmenter.predict(np.asarray(field.image).reshape(1, *field.shape))[0]
        predicted = source_catalog(labels, field.image, background="mesh")
        truth = all_sources(seed, arguments.side)
        places = np.column_stack([truth["y"], truth["x"]])
        i, _ = match_positions(places, np.column_stack([predicted["y"], predicted["x"]]), RADIUS)
        is_hit = np.zeros(len(truth), dtype=bool)
        is_hit[i] = True
        inside = (places > 30).all(axis=1) & (places < arguments.side - 30).all(axis=1)
        use = is_alone(places, truth["mag"]) & inside & (truth["class"] == GALAXY)
        magnitudes.append(truth["mag"][use])
        hits.append(is_hit[use])
    return fraction_curve(np.concatenate(magnitudes), np.concatenate(hits), edges)


def all_sources(seed, side):
    """Return every source of a field, seen or not; the catalog has the labelled ones only."""
    camera = Camera(*CAMERA.values(), "r", (500.0,), (27.0,), 9.0)
    return make_scene((side, side), camera, seed, DENSITY, 0.03, 0.05, 10).sources()


def is_alone(places, magnitudes):
    """Whether no other source that could be seen is near."""
    bright = magnitudes < FAINTEST
    distance, neighbor = cKDTree(places[bright]).query(places, k=2)
    is_self = bright & (np.flatnonzero(bright)[neighbor[:, 0]] == np.arange(len(places)))
    return np.where(is_self, distance[:, 1], distance[:, 0]) > ALONE


if __name__ == "__main__":
    main()

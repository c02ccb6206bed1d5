"""Compare the shipped U-Net of several bands with the stack of the bands, and with one band.

    python -m benchmarks.bench_bands scores
    python -m benchmarks.bench_bands order
    python -m benchmarks.bench_bands peaks

`scores` segments simulated fields that no net was trained on, `order` says how much of the result
depends on the order of the bands, and `peaks` counts the peaks of real blends that have a source of
their own. "stack" is the net "sky" on the stack of the bands, each in units of its noise; "one" is
"sky" on the band that the truth is of. A path is the file of another net.
"""

import argparse
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np

from galaxysegment import UNetSegmenter

from .band_fields import simulate
from .bench_classes import Tally, dc2_field, galsim_field, plain_fields, predict_classes
from .bench_instances import matched_peaks, stored_blends
from .train_shipped_bands import beginning

FIRST = 8_100_000  # seed of the first held-out field


# ---- fields: bands, then an RMS map; panoptic truth; index of the band that the truth is of ----


def simulated(n_bands, n_fields):
    """Fields as in training, of other seeds; their truth is of the stack."""
    seeds = range(FIRST + 1000 * n_bands, FIRST + 1000 * n_bands + n_fields)
    return [(*simulate(seed, n_bands), 0) for seed in seeds]


def list_sets(data, n_fields):
    """Yield name and fields."""
    for n_bands in (2, 3, 5):
        name = f"as in training, {n_bands} bands, {n_fields} fields"
        yield name, simulated(n_bands, n_fields)
    for density in (40, 100):
        fields = [(*field, 1) for field in plain_fields(density, "grz")]
        yield f"make_field grz, {density} per arcmin²", fields
    if data:
        yield "another simulator (GalSim, HST galaxies), grz", [(*galsim_field(data, "grz"), 1)]
        yield "another simulator (DC2), grizy", [(*dc2_field(data, "grizy"), 2)]


# ---- nets ----


def make_unet(net, rms_band, n_views):
    """Make the segmenter of a name or a file."""
    if net == "stack":
        with tempfile.TemporaryDirectory() as folder:
            unet = beginning(Path(folder) / "stack.safetensors", 0)
        return unet.set_params(rms_band=rms_band, n_views=n_views)
    weights = "sky" if net == "one" else net
    return UNetSegmenter(weights=weights, rms_band=rms_band, n_views=n_views)


def predict(net, planes, band, n_views):
    """Predict a field; an RMS map of NaN alone is left out."""
    with_rms = np.isfinite(planes[-1]).any()
    X = planes if with_rms else planes[:-1]
    if net == "one":
        X = X[[band, -1]] if with_rms else X[[band]]
    unet = make_unet(net, -1 if with_rms else None, n_views)
    unet._ready_net()
    return predict_classes(unet, X, unet._star_rule)


# ---- what is measured ----


def score(options):
    """Print all scores."""
    for name, fields in list_sets(options.data, options.fields):
        print(f"\n{name}")
        for net in options.nets:
            tally = Tally()
            for planes, truth, band in fields:
                tally.add(planes, truth, predict(net, planes, band, options.views))
            print(f"  {Path(net).stem:10s} {tally.describe()}", flush=True)
            for line in tally.describe_kinds():
                print(f"    {line}", flush=True)


def compare_orders(options):
    """Print the largest change of a probability, and the share of pixels of another class."""
    rng = np.random.default_rng(0)
    for net in options.nets:
        if net == "one":
            continue
        largest, changed = 0.0, []
        for planes, *_ in simulated(5, options.fields):
            unet = make_unet(net, -1, options.views)
            order = [*rng.permutation(len(planes) - 1), len(planes) - 1]
            probas = unet.predict_class_proba(np.stack([planes, planes[order]]))
            maps = unet.predict(np.stack([planes, planes[order]]), output="panoptic")
            largest = max(largest, float(np.abs(probas[0] - probas[1]).max()))
            changed.append(np.mean(maps[0, 0] != maps[1, 0]))
        print(f"{Path(net).stem:10s} probability {largest:.1e}, pixels {np.mean(changed):.1e}")


def count_peaks(options):
    """Print the share of the peaks of real blends with a source of their own."""
    blends = list(stored_blends(options.data))
    for net in options.nets:
        counts = np.zeros(3, dtype=int)
        for images, weights, peaks in blends:
            image = np.where(weights > 0, images, np.nan).astype(np.float32)
            with np.errstate(divide="ignore"):
                rms = np.where(weights > 0, 1 / np.sqrt(weights), np.nan).astype(np.float32)
            middle = len(image) // 2
            chosen = image[[middle]] if net == "one" else image
            X = np.concatenate([chosen, rms[[middle]]])
            (sources,) = make_unet(net, -1, options.views).predict(X[None], output="instances")
            own = matched_peaks(sources, np.nanmean(image, axis=0), peaks)
            counts += own.sum(), len(peaks), len(sources)
        print(
            f"{Path(net).stem:10s} {counts[0] / counts[1]:.3f} of {counts[1]} peaks, "
            f"{counts[2] - counts[0]} more sources",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("scores", "order", "peaks"))
    parser.add_argument("--nets", nargs="+", default=["bands", "stack", "one"])
    parser.add_argument("--fields", type=int, default=12, help="held-out fields as in training")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--data", type=Path, default=os.environ.get("GALAXYSEGMENT_DATA"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    options.data = options.data and Path(options.data)
    {"scores": score, "order": compare_orders, "peaks": count_peaks}[options.what](options)


if __name__ == "__main__":
    main()

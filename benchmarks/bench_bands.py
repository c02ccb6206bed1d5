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
from scipy.special import expit

from galaxysegment import UNetSegmenter
from galaxysegment.datasets import make_field
from galaxysegment.io import read_field
from galaxysegment.segmenters._star_rule import star_logits
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR

from .band_fields import simulate
from .bench_classes import Prediction, Tally
from .bench_instances import matched_peaks
from .class_fields import star_evidence_of, truth_of
from .train_shipped_bands import beginning

FIRST = 8_100_000  # seed of the first held-out field


# ---- fields: bands, then an RMS map; panoptic truth; index of the band that the truth is of ----


def simulated(n_bands, n_fields):
    """Fields as in training, of other seeds; their truth is of the stack."""
    seeds = range(FIRST + 1000 * n_bands, FIRST + 1000 * n_bands + n_fields)
    return [(*simulate(seed, n_bands), 0) for seed in seeds]


def plain_fields(density):
    """Fields of `make_field` in g, r and z, three tenths stars; the truth is of r."""
    settings = {"pixel_scale": 0.2, "psf_fwhm": 0.8, "depth": 26.0, "star_fraction": 0.3}
    fields = []
    for seed in range(900, 904):
        field = make_field((512, 512), density=density, bands="grz", **settings, random_state=seed)
        fields.append((np.concatenate([field.image, field.rms[1:2]]), truth_of(field), 1))
    return fields


def galsim_field(data):
    """HST galaxies and stars drawn by GalSim in g, r and z; the truth is of r."""
    folder = data / "sim_galsim_fields"
    bands = [
        read_field(folder / f"dev_{band}.fits.fz", labels=folder / "dev_truth.fits.fz")
        for band in "grz"
    ]
    is_star = np.asarray(bands[1].catalog["is_star"], dtype=bool)
    classes = np.concatenate([[0], np.where(is_star, STAR, GALAXY)])
    labels = np.asarray(bands[1].labels)
    truth = np.stack([classes[labels], labels])
    rms = np.where(bands[1].rms > 0, bands[1].rms, np.nan)
    image = np.concatenate([field.image for field in bands])
    truth[0][np.isnan(image).all(axis=0) | np.isnan(rms)] = -1
    return [(np.concatenate([image, rms[None]]), truth, 1)]


def dc2_field(data):
    """A field of the second data challenge of LSST DESC, g to y; its masks are oversized."""
    with np.load(next((data / "dc2_deepdisc").glob("*.npz"))) as stored:
        bands = stored["bands"].tolist()
        image = stored["images"][[bands.index(band) for band in "grizy"]]
        labels, catalog = stored["labels"], stored["catalog"]
    classes = np.zeros(max(catalog["label"].max(), labels.max()) + 1, dtype=np.int32)
    classes[catalog["label"]] = np.where(catalog["redshift"] > 0, GALAXY, STAR)
    no_map = np.full_like(image[:1], np.nan)
    return [(np.concatenate([image, no_map]), np.stack([classes[labels], labels]), 2)]


def list_sets(data, n_fields):
    """Yield name and fields."""
    for n_bands in (2, 3, 5):
        name = f"as in training, {n_bands} bands, {n_fields} fields"
        yield name, simulated(n_bands, n_fields)
    for density in (40, 100):
        yield f"make_field grz, {density} per arcmin²", plain_fields(density)
    if data:
        yield "another simulator (GalSim, HST galaxies), grz", galsim_field(data)
        yield "another simulator (DC2), grizy", dc2_field(data)


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
    proba = unet.predict_class_proba(X[None])[0]
    labels, evidence = star_evidence_of(unet, X)
    logits = evidence[1] if unet._star_rule is None else star_logits(evidence, unet._star_rule)
    things = np.isin(unet.pixel_classes_, (GALAXY, STAR))
    sky, artefact = (proba[unet.pixel_classes_ == kind][0] for kind in (SKY, ARTEFACT))
    return Prediction(
        labels,
        np.concatenate([[0], expit(logits)]),
        (labels == 0) & (artefact > sky),
        proba[things].sum(axis=0),
    )


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
    with np.load(options.data / "hsc_cosmos_blends" / "dev.npz") as data:
        names = data["ids"].tolist()
        blends = [
            tuple(data[f"{name}_{part}"] for part in ("images", "weights", "peaks"))
            for name in names
        ]
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

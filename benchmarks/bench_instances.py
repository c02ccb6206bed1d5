"""The shipped Mask R-CNN on blends: real ones, another simulator's, and under wider PSFs.

    python -m benchmarks.bench_instances real --picture hsc.png
    python -m benchmarks.bench_instances btk
    python -m benchmarks.bench_instances seeing
    python -m benchmarks.bench_instances fields
    python -m benchmarks.bench_instances calibration
    python -m benchmarks.bench_instances negative

`real` counts the peaks of 63 blends of the Hyper Suprime-Cam (mean of the bands, weighted by their
inverse variance) that have a source of their own: each source takes one peak, within `NEAR` pixels
of its middle or of its brightest pixel. Sources without a peak are spurious. `btk` scores 60 blends
of the BlendingToolKit as `bench_elsewhere` does, `seeing` blends of `make_blends` whose PSF is 1 to
2 times as wide; `fields` segments whole fields beside the shipped U-Net. `calibration` compares the
scores on these fields with the share of the sources that are true. `negative` counts sources on
real images times −1. sep is tuned, on the other
half of the blends each time. ``--weights`` names other weights or a file. GALAXYSEGMENT_DATA is the
folder of the images.
"""

import argparse
import itertools
import os
import warnings
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import sep
from scipy.optimize import linear_sum_assignment

from galaxysegment import Instances, MaskRCNNSegmenter, SEPSegmenter, UNetSegmenter
from galaxysegment.datasets import make_blends, make_field
from galaxysegment.metrics import coco_summary, detection_scores
from galaxysegment.metrics._matching import best_pairs, find_overlaps
from galaxysegment.structures import GALAXY, STAR

from .bench_classes import print_false
from .bench_elsewhere import run_net, run_peer, score
from .leaderboard.elsewhere import BTK, _galsim_field, btk_parts
from .leaderboard.fields import join
from .tune_shipped_instances import signal_to_noise

BINS = (0, 10, 20, 50, np.inf)  # signal to noise of sources whose class is counted
SCORES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.01)  # bounds of scores that are compared
LEAST = 10  # pixels of a source on a field that counts
NEAR = 4.0  # pixels, about the PSF of the real blends
GRID = {
    "thresh": (1.0, 1.5, 2.0, 3.0),
    "minarea": (5, 10),
    "deblend_cont": (0.05, 0.01, 0.005, 0.001, 0.0001),
}
WIDTHS = (0.7, 0.9, 1.05, 1.2, 1.4)  # arcseconds; `make_blends` has 0.7 by default
PEER = "plain_sep_tuned"


# ---- real blends ----


def stored_blends(folder):
    """Yield images and weights (n_bands, height, width), and peaks (n, 2) as x, y."""
    with np.load(folder / "hsc_cosmos_blends" / "dev.npz") as data:
        for name in data["ids"].tolist():
            yield tuple(data[f"{name}_{part}"] for part in ("images", "weights", "peaks"))


def real_blends(folder):
    """Return images with their RMS map (2, height, width), and their peaks (n, 2) as x, y."""
    blends = [(coadd(images, weights), peaks) for images, weights, peaks in stored_blends(folder)]
    return [list(part) for part in zip(*blends, strict=True)]


def coadd(images, weights):
    """Mean of bands by inverse variance, and its RMS; NaN where no band has data."""
    total = weights.sum(axis=0)
    known = total > 0
    safe = np.where(known, total, 1)
    mean = np.where(known, (images * weights).sum(axis=0) / safe, np.nan)
    return np.stack([mean, np.where(known, 1 / np.sqrt(safe), np.nan)]).astype(np.float32)


def matched_peaks(sources, image, peaks):
    """Say which peaks have a source of their own."""
    if not len(sources) or not len(peaks):
        return np.zeros(len(peaks), dtype=bool)
    distances = np.array(
        [
            np.hypot(*(places_of(box, crop, image)[:, None] - peaks[None]).transpose(2, 0, 1)).min(
                axis=0
            )
            for box, crop in zip(sources.boxes.tolist(), sources.crops, strict=True)
        ]
    )
    rows, columns = linear_sum_assignment(np.minimum(distances, 10 * NEAR))
    matched = np.zeros(len(peaks), dtype=bool)
    matched[columns[distances[rows, columns] <= NEAR]] = True
    return matched


def places_of(box, crop, image):
    """Middle of a mask and its brightest pixel, shape (2, 2), as x, y."""
    y0, x0, y1, x1 = box
    y, x = np.nonzero(crop)
    light = np.nan_to_num(image[y0:y1, x0:x1])[y, x]
    brightest = light.argmax()
    places = np.array([[x.mean(), y.mean()], [x[brightest], y[brightest]]])
    return places + np.array([x0, y0])


def count(predicted, images, peaks):
    """Return peaks with a source of their own, all peaks, and all sources."""
    matched = [
        matched_peaks(sources, image[0], own)
        for sources, image, own in zip(predicted, images, peaks, strict=True)
    ]
    return np.array(
        [
            [part.sum(), len(part), len(sources)]
            for part, sources in zip(matched, predicted, strict=True)
        ]
    )


def covered(predicted, peaks):
    """Share of the peaks that lie on any source, as a mask without separation would count them."""
    hits = [
        sources.to_mask()[tuple(np.round(own[:, ::-1]).astype(int).T)]
        for sources, own in zip(predicted, peaks, strict=True)
    ]
    return np.concatenate(hits).mean()


def run_sep(images, **params):
    """Sources of plain sep."""
    result = []
    for image, rms in images:
        no_data = ~np.isfinite(image)
        data = np.where(no_data, 0, image).astype(np.float32)
        err = np.where(no_data, 1, rms).astype(np.float32)
        labels = sep.extract(
            data, err=err, mask=no_data, segmentation_map=True, deblend_nthresh=64, **params
        )[1]
        result.append(Instances.from_label_map(labels))
    return result


def f1(counts):
    hits, peaks, sources = counts.sum(axis=0)
    return 2 * hits / max(peaks + sources, 1)


def tuned_sep(images, peaks):
    """Sources of sep; the parameters for each half have the best F1 on the other half."""
    settings = [
        dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())
    ]
    runs = [run_sep(images, **params) for params in settings]
    counts = [count(run, images, peaks) for run in runs]
    chosen = [
        max(range(len(runs)), key=lambda index: f1(counts[index][1 - half :: 2])) for half in (0, 1)
    ]
    print("sep:", *(settings[index] for index in chosen))
    return [runs[chosen[index % 2]][index] for index in range(len(images))]


def real(options):
    images, peaks = real_blends(options.data)
    net = MaskRCNNSegmenter(weights=options.weights, rms_band=-1)
    alone = MaskRCNNSegmenter(weights=options.weights)
    unet = UNetSegmenter(weights="vis", rms_band=-1)
    runs = {
        "sep, tuned": tuned_sep(images, peaks),
        "UNetSegmenter, vis": unet.predict(images, output="instances"),
        "Mask R-CNN": net.predict(images, output="instances"),
        "Mask R-CNN, no RMS map": alone.predict([image[0] for image in images], output="instances"),
    }
    print(f"{'':24s} peaks with a source of their own / spurious / F1 / peaks on any source")
    for name, run in runs.items():
        counts = count(run, images, peaks)
        hits, total, sources = counts.sum(axis=0)
        print(
            f"{name:24s} {hits / total:.3f}  {(sources - hits) / total:.3f}  {f1(counts):.3f}  "
            f"{covered(run, peaks):.3f}   ({total} peaks)"
        )
    if options.picture:
        draw(images, peaks, runs, options.picture)


def draw(images, peaks, runs, path, n=8):
    """Draw the blends with most peaks: outlines of each program, peaks as crosses."""
    from matplotlib.figure import Figure

    from galaxysegment.display import _draw_panel

    chosen = sorted(range(len(images)), key=lambda index: -len(peaks[index]))[:n]
    figure = Figure(figsize=(3.2 * len(runs), 3.2 * n), layout="constrained")
    for line, index in zip(figure.subplots(n, len(runs)), chosen, strict=True):
        shown = np.arcsinh(np.nan_to_num(images[index][0] / images[index][1]) / 3) / 3
        for axis, (name, run) in zip(line, runs.items(), strict=True):
            _draw_panel(axis, name, run[index], shown, 1.0)
            axis.plot(*peaks[index].T, "+", color="white")
    figure.savefig(path, dpi=70)


# ---- simulated blends ----


def btk(options):
    parts = btk_parts(options.data)
    net = MaskRCNNSegmenter(weights=options.weights)
    net._ready_net()
    own = run_net(lambda _: (net, {}), parts, tuned=False)
    peer = run_peer(PEER, BTK, parts)
    for name, run in {"Mask R-CNN": own, "sep, tuned": peer}.items():
        row = score(join(parts), *run[:2], BTK)
        sources, segm = row["sources"], row["segm"]["all"]
        print(
            f"{name:16s} F1 {sources['f1']:.3f}  recall {sources['recall']:.3f}  precision "
            f"{sources['precision']:.3f}  AP {segm['AP']:.3f}  AP50 {segm['AP50']:.3f}  IoU "
            f"{row['iou']:.3f}"
        )


def seeing(options):
    net = MaskRCNNSegmenter(weights=options.weights)
    ranked = MaskRCNNSegmenter(weights=options.weights, score_threshold=0.005)
    for width in WIDTHS:
        X, truth = make_blends(options.n, psf_fwhm=width, random_state=9_000_000)
        scores = detection_scores(truth, net.predict(X, output="instances"))
        summary = coco_summary(truth, without_classes(ranked.predict(X, output="instances")))
        print(
            f"PSF {width:.2f} arcseconds: F1 {scores.f1:.3f}  AP {summary['AP']:.3f}  AP50 "
            f"{summary['AP50']:.3f}",
            flush=True,
        )


def fields(options):
    """Print F1 on whole fields, and how many matched sources have the right class."""
    net = MaskRCNNSegmenter(weights=options.weights, rms_band=-1)
    unet = UNetSegmenter(weights="vis", rms_band=-1)
    for name, planes, sources in list_fields(options.data):
        truth = sources.select(sources.areas >= LEAST)
        row = []
        for segmenter in (net, unet):
            predicted = segmenter.predict(planes[None], output="instances")[0]
            scores = detection_scores([truth], [predicted.select(predicted.areas >= LEAST)])
            row.append(
                f"F1 {scores.f1:.3f} (recall {scores.recall:.3f}, precision {scores.precision:.3f})"
            )
        print(f"{name}: Mask R-CNN {row[0]}; vis {row[1]}", flush=True)
        predicted = net.predict(planes[None], output="instances")[0]
        signal = np.sinh(np.nan_to_num(net._scale_all([planes])[0][0]))
        snr = np.array(
            [signal_to_noise(signal, *pair) for pair in zip(truth.boxes, truth.crops, strict=True)]
        )
        for low, high in pairwise(BINS):
            inside = truth.select((snr >= low) & (snr < high))
            told = ", ".join(f"{share:.3f} of {n}" for share, n in right_classes(inside, predicted))
            print(f"    S/N {low:g} to {high:g}: right galaxies, stars {told}", flush=True)


def calibration(options):
    """Print the share of true sources, and the mean score, of sources with similar scores."""
    net = MaskRCNNSegmenter(weights=options.weights, rms_band=-1)
    scores, right = [], []
    for _, planes, truth in list_fields(options.data):
        predicted = net.predict(planes[None], output="instances")[0]
        overlaps = find_overlaps([truth], [predicted])
        is_true = np.zeros(len(predicted), dtype=bool)
        is_true[overlaps.j[best_pairs(overlaps, 0.5)]] = True
        keep = predicted.areas >= LEAST
        scores.append(predicted.scores[keep])
        right.append(is_true[keep])
    scores, right = np.concatenate(scores), np.concatenate(right)
    error = 0.0
    for low, high in pairwise(SCORES):
        inside = (scores >= low) & (scores < high)
        if inside.any():
            mean, share = scores[inside].mean(), right[inside].mean()
            error += inside.mean() * abs(mean - share)
            print(f"score {low:.2f} to {high:.2f}: {share:.3f} of {inside.sum()}, mean {mean:.3f}")
    print(f"expected calibration error {error:.3f}")


def negative(options):
    make = partial(MaskRCNNSegmenter, weights=options.weights)
    print_false(
        {
            "Mask R-CNN": lambda rms_band: make(rms_band=rms_band),
            "SEP, defaults": lambda rms_band: SEPSegmenter(rms_band=rms_band),
        },
        options.data,
    )


def list_fields(folder):
    """Yield names, images with their RMS map, and true sources."""
    field = _galsim_field(folder / "sim_galsim_fields")
    planes = np.stack([field.image[1], np.asarray(field.rms)[1]]).astype(np.float32)
    yield "GalSim, r", planes, field.instances
    for density in (40, 100, 250):
        field = make_field(
            (512, 512),
            pixel_scale=0.2,
            psf_fwhm=0.8,
            density=density,
            star_fraction=0.3,
            random_state=9_100_000 + density,
        )
        planes = np.stack([field.image[0], field.rms]).astype(np.float32)
        yield f"make_field, {density} per square arcminute", planes, field.instances


def right_classes(truth, predicted):
    """Share of matched galaxies and of matched stars with the right class, and their numbers."""
    overlaps = find_overlaps([truth], [predicted])
    pairs = best_pairs(overlaps, 0.5)
    own, answers = truth.classes[overlaps.i[pairs]], predicted.classes[overlaps.j[pairs]]
    result = []
    for kind in (GALAXY, STAR):
        of_kind = answers[own == kind] == kind
        result.append((of_kind.mean() if len(of_kind) else np.nan, len(of_kind)))
    return result


def without_classes(predicted):
    return [replace(sources, classes=None) for sources in predicted]


RUNS = {run.__name__: run for run in (real, btk, seeing, fields, calibration, negative)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(RUNS))
    parser.add_argument("--weights", default="blends", help="name or file")
    parser.add_argument("--picture", type=Path, help="file of the picture of real blends")
    parser.add_argument("-n", type=int, default=100, help="simulated blends of each width")
    options = parser.parse_args()
    options.data = Path(os.environ["GALAXYSEGMENT_DATA"])
    warnings.simplefilter("ignore")
    RUNS[options.what](options)


if __name__ == "__main__":
    main()

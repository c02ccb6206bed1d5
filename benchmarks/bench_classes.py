"""Compare shipped U-Nets: sources, stars against galaxies, artefacts, and false sources.

    python -m benchmarks.bench_classes scores
    python -m benchmarks.bench_classes negative

`scores` segments simulated fields that no net was trained on: those of `train_shipped_classes`,
`make_field` at three densities and, if GALAXYSEGMENT_DATA is set, two fields of other simulators.
`negative` counts sources on real images times −1, which hold noise, and troughs where a pipeline
took too much light away, but no source. ``--nets`` names weights or files; "sky-votes" is the net
"sky" without the comparison of the sources of an image, "photometry" the sources of "sky" with
`star_probability` of their catalog, where NaN counts as a galaxy, "sep" `SEPSegmenter`, and
"sextractor" SExtractor with CLASS_STAR, which is told the seeing of each field; masks begin at 1.5
sigma. "sky@0.7" is "sky" with that threshold: recall and false sources show what a threshold costs.
"""

import argparse
import os
import subprocess
import tempfile
import warnings
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from galaxysegment import SEPSegmenter, UNetSegmenter
from galaxysegment.catalog import source_catalog
from galaxysegment.datasets import make_field
from galaxysegment.detection._background import background_maps
from galaxysegment.io import read_field
from galaxysegment.metrics import detection_scores, expected_calibration_error
from galaxysegment.segmenters._star_rule import star_logits
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR, relabel, remove_small

from .class_fields import match_sources, seeing_of, simulate, star_evidence_of, truth_of
from .leaderboard.peers import find_sextractor
from .real_sky import list_fields, open_field

BINS = (5, 10, 20, 50, np.inf)  # of the signal to noise of a true source
UNCERTAIN = (0.05, 0.95)
N_PIXELS = 8  # smaller sources are ignored
SEXTRACTOR = Path("/usr/share/source-extractor")
FIRST = 7_100_000  # seed of the first held-out field


# ---- fields: bands, then an RMS map; classes and label map (2, height, width) of the band r ----


def plain_fields(density, bands="r"):
    """Fields of `make_field` as a large ground-based survey sees them, three tenths stars."""
    settings = {"pixel_scale": 0.2, "psf_fwhm": 0.8, "depth": 26.0, "star_fraction": 0.3}
    fields = []
    for seed in range(900, 904):
        field = make_field((512, 512), density=density, bands=bands, **settings, random_state=seed)
        rms = field.rms.reshape(field.image.shape)[[bands.index("r")]]
        fields.append((np.concatenate([field.image, rms]), truth_of(field)))
    return fields


def galsim_field(data, bands):
    """HST galaxies and stars drawn by GalSim; the RMS map and the truth are of r, or the first."""
    folder = data / "sim_galsim_fields"
    fields = [
        read_field(folder / f"dev_{band}.fits.fz", labels=folder / "dev_truth.fits.fz")
        for band in bands
    ]
    reference = fields[max(bands.find("r"), 0)]
    is_star = np.asarray(reference.catalog["is_star"], dtype=bool)
    classes = np.concatenate([[0], np.where(is_star, STAR, GALAXY)])
    labels = np.asarray(reference.labels)
    truth = np.stack([classes[labels], labels])
    rms = np.where(reference.rms > 0, reference.rms, np.nan)
    image = np.concatenate([field.image for field in fields])
    truth[0][np.isnan(image).all(axis=0) | np.isnan(rms)] = -1
    return np.concatenate([image, rms[None]]), truth


def dc2_field(data, bands):
    """A field of the second data challenge of LSST DESC, without a map; its masks are oversized."""
    with np.load(next((data / "dc2_deepdisc").glob("*.npz"))) as stored:
        letters = stored["bands"].tolist()
        image = stored["images"][[letters.index(band) for band in bands]]
        labels, catalog = stored["labels"], stored["catalog"]
    classes = np.zeros(max(catalog["label"].max(), labels.max()) + 1, dtype=np.int32)
    classes[catalog["label"]] = np.where(catalog["redshift"] > 0, GALAXY, STAR)
    no_map = np.full_like(image[:1], np.nan)
    return np.concatenate([image, no_map]), np.stack([classes[labels], labels])


def list_sets(data, n_fields, only=""):
    """Yield name, fields and their seeing in pixels of the sets whose name contains `only`."""
    seeds = range(FIRST, FIRST + n_fields)
    seeings = [seeing_of(seed) for seed in seeds]
    sets = [(f"as in training, {n_fields} fields", lambda: list(map(simulate, seeds)), seeings)]
    for density in (40, 100, 250):
        name = f"make_field, {density} per arcmin²"
        sets.append((name, partial(plain_fields, density), [4.0] * 4))
    if data:
        name = "another simulator (GalSim, HST galaxies)"
        sets.append((name, lambda: [galsim_field(data, band) for band in "rgz"], [4.0] * 3))
        sets.append(("another simulator (DC2)", lambda: [dc2_field(data, "i")], [3.5]))
    for name, make, seeings in sets:
        if only in name:
            yield name, make(), seeings


# ---- scores ----


class Prediction(NamedTuple):
    """What is known of a field; None if a system does not tell.

    Parameters
    ----------
    labels : ndarray of int, shape (height, width)
    scores : ndarray of float, shape (n_labels + 1,), or None
        How much each source looks like a star.
    artefact : ndarray of bool, shape (height, width), or None
    light : ndarray of float, shape (height, width), or None
        Probability of a source.
    """

    labels: np.ndarray
    scores: np.ndarray | None = None
    artefact: np.ndarray | None = None
    light: np.ndarray | None = None


class Tally:
    """Counts of one net over fields."""

    def __init__(self):
        self.pixels, self.sources, self.artefacts = np.zeros(3), np.zeros(3), np.zeros(4)
        self.light, self.real = [], []  # probability of a source of each pixel, and the truth
        self.kinds = []  # S/N, true class, answer, score of a star, shared label of matched sources

    def add(self, planes, truth, prediction):
        """Count a field."""
        labels = prediction.labels
        void = truth[0] < 0
        is_thing = np.isin(truth[0], (GALAXY, STAR))
        all_true = np.where(is_thing, truth[1], 0)
        wanted = remove_small(all_true, N_PIXELS)
        ignored = void | ((all_true > 0) & (wanted == 0))
        seen = np.where(ignored, 0, labels)
        light = seen > 0
        self.pixels += (light & (wanted > 0)).sum(), light.sum(), (wanted > 0).sum()
        scores = detection_scores(relabel(wanted), relabel(remove_small(seen, N_PIXELS)))
        self.sources += scores.n_matched, scores.n_true, scores.n_pred
        real = truth[0] == ARTEFACT
        self.artefacts[:2] += (light & real).sum(), real.sum()
        if prediction.light is not None:
            self.light.append(prediction.light[~void])
            self.real.append(is_thing[~void])
        if prediction.artefact is not None:
            called = prediction.artefact & ~void & ~light
            self.artefacts[2:] += (called & real).sum(), called.sum()
        if prediction.scores is not None:
            for match in match_sources(planes, truth, labels, N_PIXELS):
                score = prediction.scores[match.source]
                answer = STAR if score > 0.5 else GALAXY
                self.kinds.append((match.snr, match.kind, answer, score, match.shared))

    def describe(self):
        """Sources and artefacts in words."""
        both, seen, true = self.pixels
        matched, n_true, n_pred = self.sources
        text = (
            f"IoU {both / (seen + true - both):.3f}, Dice {2 * both / (seen + true):.3f}, "
            f"F1 {2 * matched / (n_true + n_pred):.3f} (recall {matched / n_true:.3f}, precision "
            f"{matched / n_pred:.3f})"
        )
        in_sources, real, named, called = self.artefacts
        if real:
            text += f"; artefact pixels in sources {in_sources / real:.3f}"
        if real and called:
            text += f", called artefacts {named / real:.3f}, right {named / called:.3f}"
        if self.light:
            light, truth = np.concatenate(self.light), np.concatenate(self.real)
            error = expected_calibration_error(
                truth[None], light[None], n_bins=10, between=UNCERTAIN
            )
            text += f"; calibration error {error:.3f}"
        return text

    def describe_kinds(self):
        """Stars and galaxies that are called by their names, by signal to noise."""
        if not self.kinds:
            return
        snr, true, predicted, score, shared = np.transpose(self.kinds)
        for low, high in pairwise(BINS):
            inside = (snr >= low) & (snr < high)
            parts = []
            for kind, name in ((STAR, "stars"), (GALAXY, "galaxies")):
                chosen = inside & (true == kind)
                right = np.mean(predicted[chosen] == kind) if chosen.any() else np.nan
                parts.append(f"{name} {right:.3f} of {chosen.sum()}")
            right = np.mean(predicted[inside] == true[inside]) if inside.any() else np.nan
            own = inside & (shared == 0)
            alone = np.mean(predicted[own] == true[own]) if own.any() else np.nan
            parts.append(f"with a label of their own {alone:.3f} of {own.sum()}")
            if len(np.unique(true[inside])) == 2:
                parts.append(f"AUC {roc_auc_score(true[inside] == STAR, score[inside]):.3f}")
            yield f"S/N {low:g} to {high:g}: all {right:.3f}; {', '.join(parts)}"


def make_unet(net, n_views, rms_band):
    """Make a U-Net of weights or a file, perhaps with a threshold: "sky", "sky@0.7"."""
    weights, _, threshold = str(net).partition("@")
    options = {"threshold": float(threshold)} if threshold else {}
    return UNetSegmenter(weights=weights, rms_band=rms_band, n_views=n_views, **options)


def predict(net, planes, n_views, seeing=None):
    """Predict a field with the weights of a name or a file, or with another system."""
    if net == "photometry":
        return by_photometry(planes, predict("sky", planes, n_views).labels)
    if net == "sextractor":
        return by_sextractor(planes, seeing)
    with_rms = np.isfinite(planes[1]).any()
    rms_band, X = (-1, planes[None]) if with_rms else (None, planes[None, :1])
    if net == "sep":
        return Prediction(SEPSegmenter(rms_band=rms_band).predict(X)[0])
    voted = str(net).endswith("-votes")
    unet = make_unet(str(net).removesuffix("-votes"), n_views, rms_band)
    unet._ready_net()
    if len(unet.pixel_classes_) == 2:
        return Prediction(unet.predict(X)[0])
    return predict_classes(unet, X[0], None if voted else unet._star_rule)


def predict_classes(unet, X, rule):
    """Predict a field (n_bands, height, width) with a U-Net; without a rule its votes decide."""
    proba = unet.predict_class_proba(X[None])[0]
    labels, evidence = star_evidence_of(unet, X)
    logits = evidence[1] if rule is None else star_logits(evidence, rule)
    things = np.isin(unet.pixel_classes_, (GALAXY, STAR))
    sky, artefact = (proba[unet.pixel_classes_ == kind][0] for kind in (SKY, ARTEFACT))
    return Prediction(
        labels,
        np.concatenate([[0], expit(logits)]),
        (labels == 0) & (artefact > sky),
        proba[things].sum(axis=0),
    )


def noise_of(planes):
    """Return the RMS map of a field, measured on a mesh if it has none."""
    image, rms = planes
    return rms if np.isfinite(rms).any() else background_maps(image, box_size=64)[1]


def by_photometry(planes, labels):
    """Take `star_probability` of the catalog."""
    catalog = source_catalog(
        labels, planes[0], rms=noise_of(planes), background="mesh", star_probability=True
    )
    scores = np.zeros(labels.max() + 1)
    scores[catalog["label"]] = np.nan_to_num(catalog["star_probability"])
    return Prediction(labels, scores)


def by_sextractor(planes, seeing):
    """Take masks and CLASS_STAR of SExtractor; the seeing is in pixels."""
    image, rms = planes[0], noise_of(planes)
    bad = ~(np.isfinite(image) & (rms > 0))
    names = "NUMBER", "CLASS_STAR"
    options = {
        "CATALOG_NAME": "out.cat", "CATALOG_TYPE": "FITS_1.0", "PARAMETERS_NAME": "columns",
        "WEIGHT_TYPE": "MAP_RMS", "WEIGHT_IMAGE": "rms.fits", "CHECKIMAGE_TYPE": "SEGMENTATION",
        "CHECKIMAGE_NAME": "labels.fits", "FILTER_NAME": SEXTRACTOR / "gauss_3.0_5x5.conv",
        "STARNNW_NAME": SEXTRACTOR / "default.nnw", "SEEING_FWHM": seeing, "PIXEL_SCALE": 1,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"-{name}", str(value))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        filled = np.where(bad, np.median(image[~bad]), image).astype(np.float32)
        fits.writeto(folder / "image.fits", filled)
        fits.writeto(folder / "rms.fits", np.where(bad, 1e30, rms).astype(np.float32))
        (folder / "columns").write_text("\n".join(names))
        (folder / "empty").write_text("")
        command = [find_sextractor(), "image.fits", "-c", "empty", *words]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        labels = fits.getdata(folder / "labels.fits").astype(np.int32)
        table = fits.getdata(folder / "out.cat", 1)
    scores = np.zeros(labels.max() + 1)
    scores[table["NUMBER"]] = table["CLASS_STAR"]
    return Prediction(labels, scores)


def score(options):
    """Print all scores."""
    for name, fields, seeings in list_sets(options.data, options.fields, options.only):
        print(f"\n{name}")
        for net in options.nets:
            tally = Tally()
            for (planes, truth), seeing in zip(fields, seeings, strict=True):
                tally.add(planes, truth, predict(net, planes, options.views, seeing))
            print(f"  {Path(net).name:10s} {tally.describe()}", flush=True)
            for line in tally.describe_kinds():
                print(f"    {line}", flush=True)


# ---- false sources ----


def count_false(options):
    """Print sources per 10⁶ pixels on real images times −1, of U-Nets and SEP."""
    segmenters = {net: partial(make_unet, net, options.views) for net in options.nets}
    segmenters["SEP, 1 sigma"] = lambda rms_band: SEPSegmenter(n_sigma=1.0, rms_band=rms_band)
    segmenters["SEP, defaults"] = lambda rms_band: SEPSegmenter(rms_band=rms_band)
    print_false(segmenters, options.data)


def print_false(segmenters, data):
    """Print sources per 10⁶ pixels; `segmenters` are functions of the index of the RMS band."""
    print(f"{'field':44s}", *(f"{Path(name).name:>14s}" for name in segmenters))
    totals, n_pixels = dict.fromkeys(segmenters, 0), 0
    for field in list_fields(data):
        image, rms = open_field(data, field)
        image, rms = (None if plane is None else plane[:1024, :1024] for plane in (image, rms))
        X = -image[None] if rms is None else np.stack([-image, rms])[None]
        no_data = np.isnan(image) if rms is None else np.isnan(image) | ~(rms > 0)
        n_pixels += (~no_data).sum()
        cells = []
        for name, make in segmenters.items():
            labels = make(None if rms is None else -1).predict(X)[0]
            count = len(np.unique(labels[labels > 0]))
            totals[name] += count
            cells.append(f"{1e6 * count / (~no_data).sum():14.0f}")
        print(f"{field.name:44s}", *cells, flush=True)
    print(f"{'all':44s}", *(f"{1e6 * count / n_pixels:14.0f}" for count in totals.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("scores", "negative"))
    parser.add_argument("--nets", nargs="+", default=["vis", "sky"])
    parser.add_argument("--only", default="", help="sets of fields whose name contains it")
    parser.add_argument("--fields", type=int, default=24, help="held-out fields as in training")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--data", type=Path, default=os.environ.get("GALAXYSEGMENT_DATA"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    {"scores": score, "negative": count_false}[options.what](options)


if __name__ == "__main__":
    main()

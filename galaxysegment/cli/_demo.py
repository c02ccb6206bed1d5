"""Segment the sample field: a table of scores, a FITS file and a picture.

`PhotutilsSegmenter` and `KMeansSegmenter` are cross-validated on patches of the field that ships
with the package, after each of the four preprocessing variants and on signal to noise.
"""

import warnings
from pathlib import Path

SCORES = ("iou", "dice", "recall", "accuracy")


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        help="folder for the files (%(default)s)",
    )
    parser.add_argument(
        "--patch-size", type=int, default=128, help="side of the patches in pixels (%(default)s)"
    )
    parser.add_argument(
        "--folds", type=int, default=4, help="folds of the cross-validation (%(default)s)"
    )


def run(arguments):
    """Print the table and write ``segmentation.fits`` and ``segmentation.png``."""
    from ..datasets import load_sample_field

    field = load_sample_field()
    X, y = field.patches(size=arguments.patch_size, rms=True)
    height, width = field.shape[-2:]
    print(
        f"Sample field: {height} x {width} pixels, {int(field.labels.max())} sources with a truth."
    )
    print(
        f"{len(X)} patches of {arguments.patch_size} x {arguments.patch_size}, "
        f"{arguments.folds}-fold cross-validation."
    )
    print("Scores: means over the patches of each fold, mean +- spread over the folds.\n")
    _print_table(X, y, arguments.folds)
    _segment_whole_field(field, arguments.output)


def _pipelines():
    """Yield (segmenter, preprocessing, pipeline) for every row of the table."""
    from sklearn.pipeline import make_pipeline

    from ..preprocessing import (
        BandSelector,
        GaussianSmoother,
        ImageNormalizer,
        NoiseNormalizer,
        make_variant,
    )
    from ..preprocessing._variants import VARIANTS
    from ..segmenters import KMeansSegmenter, PhotutilsSegmenter

    # The threshold of the study, and what photutils does without additions.
    recipe = {
        "n_sigma": 1.5,
        "box_size": 50,
        "deblend": False,
        "level_seams": False,
        "correlated_noise": False,
        "mask_objects": False,
    }
    for name, segmenter in (
        ("photutils", PhotutilsSegmenter(**recipe)),
        ("k-means", KMeansSegmenter(random_state=0)),
    ):
        for variant in VARIANTS:
            yield name, variant, make_pipeline(make_variant(variant), segmenter)
    yield (
        "photutils",
        "raw image",
        make_pipeline(BandSelector(bands=0), PhotutilsSegmenter(**recipe)),
    )
    yield "photutils", "image and RMS", make_pipeline(PhotutilsSegmenter(rms_band=-1, **recipe))
    # Clustering cuts halfway between the mean values of sky and sources: clip where sources begin.
    clipped = make_pipeline(
        NoiseNormalizer(rms_band=-1), GaussianSmoother(fwhm=3), ImageNormalizer(interval=(0, 3))
    )
    yield "k-means", "smooth S/N", make_pipeline(clipped, KMeansSegmenter(random_state=0))


def _print_table(X, y, folds):
    from sklearn.model_selection import cross_validate

    from ..metrics import get_scorer
    from ..structures import NoSourcesWarning

    print(f"{'segmenter':<11}{'preprocessing':<19}" + "".join(f"{score:>16}" for score in SCORES))
    for name, preprocessing, pipeline in _pipelines():
        with warnings.catch_warnings():
            # A patch without sources is scored like any other: warnings would hide the table.
            warnings.simplefilter("ignore", NoSourcesWarning)
            scoring = {score: get_scorer(score) for score in SCORES}
            scores = cross_validate(pipeline, X, y, cv=folds, scoring=scoring, error_score="raise")
        cells = [scores[f"test_{score}"] for score in SCORES]
        print(
            f"{name:<11}{preprocessing:<19}"
            + "".join(f"{c.mean():>9.3f} +-{c.std():5.3f}" for c in cells),
            flush=True,
        )


def _segment_whole_field(field, folder):
    import matplotlib

    matplotlib.use("agg")
    from ..display import SegmentationDisplay
    from ..io import write_label_map
    from ..metrics import detection_scores, iou_score
    from ..segmenters import PhotutilsSegmenter

    folder.mkdir(parents=True, exist_ok=True)
    segmenter = PhotutilsSegmenter(rms_band=-1, box_size=50, deblend=True)
    labels = segmenter.predict(field)
    sources = detection_scores(field.labels, labels)
    iou = iou_score(field.labels, labels)
    print(f"\nWhole field with its RMS map, photutils at 1 sigma with deblending: IoU {iou:.3f};")
    print(
        f"{sources.n_matched} of {sources.n_true} true sources matched at IoU 0.5 "
        f"(precision {sources.precision:.3f}, recall {sources.recall:.3f})."
    )
    fits = folder / "segmentation.fits"
    write_label_map(fits, labels, header=field.header, segmenter=segmenter, overwrite=True)
    picture = folder / "segmentation.png"
    shown = SegmentationDisplay.from_predictions(field.labels, labels, image=field.image)
    shown.figure_.savefig(picture, dpi=130)
    print(f"Wrote {fits} (label map with the field's WCS) and {picture}.")

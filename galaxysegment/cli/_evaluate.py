"""Score a label map against the truth: pixels, sources and panoptic quality."""

import json


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument("truth", help="FITS file with the true label map")
    parser.add_argument("prediction", help="FITS file with the predicted label map")
    parser.add_argument(
        "--truth-hdu", default=None, help="extension of the truth, by number or name"
    )
    parser.add_argument(
        "--prediction-hdu", default=None, help="extension of the prediction, by number or name"
    )
    parser.add_argument(
        "--iou",
        type=float,
        default=0.5,
        help="mask IoU at which a source counts as found (%(default)s)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of a table"
    )
    parser.set_defaults(words={"y_true": "truth", "y_pred": "prediction", "iou": "--iou"})


def run(arguments):
    """Print the scores."""
    from .._utils.validation import check_same_shape
    from ..io import read_label_map
    from ._inputs import parse_hdu

    arguments.words["hdu"] = "--truth-hdu"
    truth = read_label_map(arguments.truth, hdu=parse_hdu(arguments.truth_hdu))
    arguments.words["hdu"] = "--prediction-hdu"
    prediction = read_label_map(arguments.prediction, hdu=parse_hdu(arguments.prediction_hdu))
    check_same_shape(prediction.shape, truth.shape, "The prediction", "the truth")
    scores = evaluate(truth, prediction, arguments.iou)
    if arguments.json:
        print(json.dumps(scores))
        return
    for name, value in scores.items():
        print(
            f"{name:<18}{value:>10.4f}" if isinstance(value, float) else f"{name:<18}{value:>10d}"
        )


def evaluate(truth, prediction, iou=0.5):
    """Score one label map.

    Parameters
    ----------
    truth, prediction : ndarray of int, shape (height, width)
    iou : float, default=0.5
        Mask IoU at which a source counts as found.

    Returns
    -------
    dict of str to float or int
    """
    from .. import metrics

    pixel = {
        name: float(getattr(metrics, f"{name}_score")(truth, prediction))
        for name in ("iou", "dice", "precision", "recall", "accuracy")
    }
    sources = metrics.detection_scores(truth, prediction, iou=iou)
    return {
        **pixel,
        "true_sources": int(sources.n_true),
        "found_sources": int(sources.n_pred),
        "source_precision": float(sources.precision),
        "source_recall": float(sources.recall),
        "source_f1": float(sources.f1),
    }

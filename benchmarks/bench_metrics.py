"""Time the metrics of sources against pycocotools and torchmetrics, side by side in one run.

    python benchmarks/bench_metrics.py

Both sides get the same sources and must return the same number. pycocotools is given masks that are
encoded already, and its limit on the number of predictions is lifted. Times are those of the
processor, for one thread. Where a peer would need a matrix of true × predicted sources that does
not fit, it is left out.
"""

import argparse
import contextlib
import io
import time

import numpy as np
from threadpoolctl import threadpool_limits

from galaxysegment import Instances
from galaxysegment.metrics import (
    average_precision,
    coco_summary,
    detection_scores,
    panoptic_quality,
    precision_recall_curve,
)


def make_sources(n, side, rng, radius=4):
    """Disks at random places, and the same disks moved by up to a pixel, with scores."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = y**2 + x**2 <= radius**2 + 1
    corner = rng.integers(1, side - 2 * radius - 2, (n, 2))
    moved = corner + rng.integers(-1, 2, (n, 2))
    return [
        Instances((side, side), np.hstack([at, at + 2 * radius + 1]), [disk] * n, rng.random(n))
        for at in (corner, moved)
    ]


def seconds(function, *arguments, **options):
    start = time.process_time()
    result = function(*arguments, **options)
    return time.process_time() - start, result


def pycocotools_dataset(images, kind):
    from pycocotools import mask
    from pycocotools.coco import COCO

    annotations = []
    for index, image in enumerate(images):
        for box, dense, score in zip(
            image.boxes.tolist(), image.masks, image.scores.tolist(), strict=True
        ):
            y0, x0, y1, x1 = box
            entry = {
                "id": len(annotations) + 1,
                "image_id": index,
                "category_id": 1,
                "iscrowd": 0,
                "score": score,
            }
            entry |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": int(dense.sum())}
            if kind == "segm":
                entry["segmentation"] = mask.encode(np.asfortranarray(dense.astype(np.uint8)))
            annotations.append(entry)
    coco = COCO()
    sizes = [
        {"id": k, "height": image.shape[0], "width": image.shape[1]}
        for k, image in enumerate(images)
    ]
    coco.dataset = {"images": sizes, "annotations": annotations, "categories": [{"id": 1}]}
    coco.createIndex()
    return coco


def pycocotools_ap(truth, predicted, kind):
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, predicted, kind)
        evaluation.params.maxDets = [1_000_000]
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    return precision[precision > -1].mean()


def compare_average_precision(y_true, y_pred, kind, title):
    with contextlib.redirect_stdout(io.StringIO()):
        truth, predicted = pycocotools_dataset(y_true, kind), pycocotools_dataset(y_pred, kind)
    theirs, expected = seconds(pycocotools_ap, truth, predicted, kind)
    ours, value = seconds(average_precision, y_true, y_pred, kind=kind)
    if abs(value - expected) > 1e-6:
        raise AssertionError(f"average precision {value} differs from pycocotools' {expected}")
    report(f"average_precision, {kind}, {title}", ours, theirs, "pycocotools")
    table, summary = seconds(coco_summary, y_true, y_pred, kind=kind)
    if abs(summary["AP"] - expected) > 1e-6:
        raise AssertionError(f"coco_summary {summary['AP']} differs from pycocotools' {expected}")
    report(f"coco_summary, {kind}, {title}", table, theirs, "pycocotools")


def compare_panoptic_quality(labels_true, labels_pred, title):
    import torch
    from torchmetrics.functional.detection import panoptic_quality as peer

    target, preds = (
        torch.tensor(np.stack([labels > 0, labels], axis=-1)[None].astype(np.int64))
        for labels in (labels_true, labels_pred)
    )
    theirs, expected = seconds(peer, preds, target, things={1}, stuffs={0})
    ours, quality = seconds(panoptic_quality, labels_true, labels_pred)
    if abs(quality.pq - float(expected)) > 1e-6:
        raise AssertionError(f"panoptic quality {quality.pq} differs from torchmetrics' {expected}")
    report(f"panoptic_quality, {title}", ours, theirs, "torchmetrics")


def report(name, ours, theirs=None, peer=None):
    line = f"{name:<62s} {ours:8.3f} s"
    if theirs is not None:
        line += f"   {peer} {theirs:8.3f} s   {theirs / ours:6.1f} × as fast"
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=int, default=2000, help="images of 256² pixels with 50 sources each"
    )
    parser.add_argument("--sources", type=int, default=100_000, help="sources in the mosaic")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    pairs = [make_sources(50, 256, rng) for _ in range(options.images)]
    y_true, y_pred = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    title = f"{options.images} images × 50 sources"
    for kind in ("segm", "bbox"):
        compare_average_precision(y_true, y_pred, kind, title)
    for function in (detection_scores, precision_recall_curve):
        report(f"{function.__name__}, {title}", seconds(function, y_true, y_pred)[0])
    compare_average_precision(
        *([item] for item in make_sources(1000, 1024, rng)), "bbox", "1000 sources in one image"
    )

    side = int(np.sqrt(options.sources) * 26)
    truth, predicted = make_sources(options.sources, side, rng)
    title = f"{options.sources} sources in one mosaic of {side}²"
    for function in (average_precision, detection_scores):
        report(f"{function.__name__}, {title}", seconds(function, truth, predicted)[0])
    labels = truth.to_label_map(), predicted.to_label_map()
    report(f"average_precision, label maps, {title}", seconds(average_precision, *labels)[0])
    report(f"panoptic_quality, label maps, {title}", seconds(panoptic_quality, *labels)[0])

    for n, side in ((1000, 1024), (10_000, 3000)):
        truth, predicted = make_sources(n, side, rng)
        compare_panoptic_quality(
            truth.to_label_map(), predicted.to_label_map(), f"{n} sources in {side}²"
        )


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()

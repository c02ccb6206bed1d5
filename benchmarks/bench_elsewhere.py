"""Mask R-CNN beside tuned photutils and sep on images that other simulators drew.

    python -m benchmarks.bench_elsewhere galsim --net C.safetensors
    python -m benchmarks.bench_elsewhere btk --net B.safetensors
    python -m benchmarks.bench_elsewhere btk --shipped

``--shipped`` adds the nets that ship with the package, as they are, and leaves the other rows. They
read one band: the mean of the three of the GalSim field, as the peers do.

With ``--output benchmarks/leaderboard/results --pictures docs/_static/elsewhere`` the numbers and
the pictures become part of the leaderboard's page.

The net of ``--net`` was trained on `make_field` (0.1″ pixels, PSF 0.17″) or `make_blends`: other
pixels, other noise, other galaxies. It is scored as it is, and after two to four minutes of
fine-tuning on one part of the images; the other part is scored, and the other way round. The
parameters of the peers are chosen on the part that is not scored. GALAXYSEGMENT_DATA is the folder
of the images.
"""

import argparse
import itertools
import json
import os
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

from galaxysegment import NoSourcesWarning
from galaxysegment.persistence import load, save

from .leaderboard.elsewhere import BTK, GALSIM, btk_parts, galsim_parts
from .leaderboard.fields import indices_inside, join
from .leaderboard.measure import Stopwatch, machine, versions
from .leaderboard.run import choose, plain
from .leaderboard.scores import (
    SEPARATION_EDGES,
    binned,
    centres,
    count_sources,
    evaluate,
    matches,
    quality,
    select,
)
from .leaderboard.systems import SYSTEMS, build, predict, set_last, version_of_weights
from .leaderboard.table_file import add_run

DATA = {"galsim": (GALSIM, galsim_parts), "btk": (BTK, btk_parts)}
PEERS = ("plain_photutils_tuned", "plain_sep_tuned")
SHIPPED = ("unet_shipped", "unet_sky", "mask_rcnn_blends")
CUTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
LOWEST = {"score_threshold": 0.005}  # for average precision, which ranks sources below the cut too
TRAINING = {
    "galsim": (8, 8),
    "btk": (20, 1),
}  # epochs, and how many crops of each image one of them sees


# ---- what the net is fine-tuned on ----


def repeated(part, times):
    """The images of a part several times: one crop of each is seen in an epoch."""
    return np.concatenate([part.X] * times), list(part.y) * times


def load_net(path):
    """The segmenter of a file without what came before it in a pipeline.

    The images are prepared already.
    """
    predicted = load(path)
    return predicted[-1] if isinstance(predicted, Pipeline) else predicted


def fine_tune(path, kept, epochs, X, y):
    """Go on training the net of a file; keep what comes out in another, or take it from there."""
    if kept.is_file():
        return load_net(kept), json.loads(kept.with_suffix(".json").read_text())
    net = load_net(path).set_params(
        max_epochs=epochs, batch_size=4, lr=5e-4, schedule="one-cycle", patience=None
    )
    net.set_params(validation_fraction=0, callbacks=None, score_threshold=0.5, random_state=0)
    with Stopwatch() as watch:
        net.partial_fit(X, y)
    kept.parent.mkdir(parents=True, exist_ok=True)
    save(net, kept)
    times = {
        "processor_seconds": round(watch.processor_seconds, 1),
        "seconds": round(watch.seconds, 1),
    }
    times |= {"images": len(X), "epochs": epochs}
    kept.with_suffix(".json").write_text(json.dumps(times))
    print(kept.name, times, flush=True)
    return net, times


# ---- every system on both parts ----


def run_net(make_net, parts, tuned=True):
    """Predict each part with the net for it.

    Sources, candidates below the cut, and what the fits took.
    """
    predicted, candidates, told = [], [], []
    for index, part in enumerate(parts):
        net, times = make_net(index)
        cut = net.score_threshold_
        net = set_last(make_pipeline(net), LOWEST)  # a cut takes sources away and changes none
        if tuned:
            cut = choose_cut(net, parts[1 - index])
            times = {**times, "chosen": {"score_threshold": cut}}
        told.append(times)
        candidates += predict(net, part.X)
        predicted += [sources.select(sources.scores >= cut) for sources in candidates[-len(part) :]]
    return predicted, candidates, told


def choose_cut(net, train, n_pixels=10):
    """The cut in score with the best sum of pixel IoU and source F1, as with the parameters of the
    peers.
    """
    predicted = predict(net, train.X)
    sums = [
        quality(train, [image.select(image.scores >= cut) for image in predicted], n_pixels)
        for cut in CUTS
    ]
    return CUTS[sums.index(max(sums))]


def run_peer(name, setting, parts):
    predicted, told = [], []
    for index, part in enumerate(parts):
        estimator = build(SYSTEMS[name], setting, "raw", 0)
        told.append({"chosen": choose(estimator, SYSTEMS[name].grid, parts[1 - index])})
        predicted += predict(estimator, part.X)
    return predicted, None, told


def run_shipped(name, setting, parts):
    """Predict by a net that ships with the package: no training, nothing chosen on these images."""
    variant = "raw" if setting.rms_band is None else "coadd"
    estimator = build(SYSTEMS[name], setting, variant, 0)
    predicted = [sources for part in parts for sources in predict(estimator, part.X)]
    if "score_threshold" not in estimator[-1].get_params():
        return predicted, None, []
    set_last(estimator, LOWEST)
    return predicted, [sources for part in parts for sources in predict(estimator, part.X)], []


def shipped_systems(setting, parts):
    """Name and run of every net that ships with the package."""
    for name in SHIPPED:
        yield SYSTEMS[name].label, partial(run_shipped, name, setting, parts)


def systems(what, path, keep, setting, parts):
    """Name and run of every other row."""
    epochs, times = TRAINING[what]

    def tuned_on_the_other(index):
        kept = keep / f"{what}.{path.stem}.other.{index}.safetensors"
        return fine_tune(path, kept, epochs, *repeated(parts[1 - index], times))

    yield (
        "Mask R-CNN as it was",
        lambda: run_net(lambda _: (load_net(path), {}), parts, tuned=False),
    )
    yield "Mask R-CNN, fine-tuned", lambda: run_net(tuned_on_the_other, parts)
    for name in PEERS:
        yield SYSTEMS[name].label, partial(run_peer, name, setting, parts)


# ---- scores ----


def score(patches, predicted, candidates, setting):
    """Numbers of one system."""
    result = evaluate(patches, predicted, setting, candidates)
    row = {name: result[name] for name in ("sources", "segm", "completeness by snr")}
    counted, seen = count_sources(patches.truth, predicted, setting.n_pixels)
    truth, _, _ = select(patches, counted)
    nearest = np.concatenate([distance_to_nearest(sources) for sources in truth])
    hits = np.concatenate(matches(truth, seen)[0])
    return {
        **row,
        "iou": result["pixels"]["pooled"]["iou"],
        "separation": binned(nearest, hits, SEPARATION_EDGES),
    }


def distance_to_nearest(sources):
    """Pixels from each source's centre to the next one's; infinite where it is alone."""
    where = centres(sources)
    distances = np.hypot(*(where[:, None] - where[None]).transpose(2, 0, 1))
    np.fill_diagonal(distances, np.inf)
    return distances.min(axis=1, initial=np.inf)


def print_tables(setting, rows):
    print(f"\n{setting.text}\n")
    head = ("AP", "AP50", "AP75", "P", "R", "F1", "pixel IoU")
    classes = ("galaxy AP50", "star AP50") if setting.classes else ()
    print(f"{'':44s}" + "".join(f"{name:>12s}" for name in (*head, *classes)))
    for name, row in rows.items():
        values = [row["segm"]["all"][item] for item in ("AP", "AP50", "AP75")]
        values += [*(row["sources"][item] for item in ("precision", "recall", "f1")), row["iou"]]
        values += [row["segm"].get(item, {}).get("AP50") for item in ("galaxy", "star") if classes]
        print(
            f"{name:44s}"
            + "".join(f"{'–':>12s}" if value is None else f"{value:12.3f}" for value in values)
        )
    for title, key in (
        ("separation from the next source, pixels", "separation"),
        ("S/N", "completeness by snr"),
    ):
        edges, n = (next(iter(rows.values()))[key][name] for name in ("edges", "n"))
        print(f"\nRecall against {title}; number of sources in brackets")
        names = [
            f"{low:g}-{high:g} ({item})"
            for (low, high), item in zip(itertools.pairwise(edges), n, strict=True)
        ]
        print(f"{'':44s}" + "".join(f"{name:>13s}" for name in names))
        for name, row in rows.items():
            pairs = zip(row[key]["n_hit"], n, strict=True)
            print(
                f"{name:44s}"
                + "".join(f"{hit / item:13.2f}" if item else f"{'–':>13s}" for hit, item in pairs)
            )


# ---- pictures ----


def draw(patches, predictions, windows, n_pixels, path):
    """Outlines of the truth and of every prediction, overlapping ones too.

    A row for each window.
    """
    from matplotlib.figure import Figure

    from galaxysegment.display import _draw_panel

    counted, _ = count_sources(patches.truth, patches.truth, n_pixels)
    columns = {"truth": select(patches, counted)[0], **predictions}
    science = patches.X if patches.X.ndim == 3 else patches.X[:, 1]
    noise = 1.4826 * np.nanmedian(np.abs(science - np.nanmedian(science)))
    figure = Figure(figsize=(3.6 * len(columns), 3.8 * len(windows)), layout="constrained")
    axes = figure.subplots(len(windows), len(columns), squeeze=False)
    for line, (index, rows, cols) in zip(axes, windows, strict=True):
        shown = np.arcsinh((science[index, rows, cols] - np.nanmedian(science)) / noise) / 5
        for axis, (name, group) in zip(line, columns.items(), strict=True):
            sources = group[index].select(indices_inside(group[index], rows, cols))
            sources = sources.shift(-rows.start, -cols.start, shown.shape)
            _draw_panel(axis, name.replace(", ", ",\n"), sources, shown, 1.0)
    figure.savefig(path, dpi=80, metadata={"Software": None})


def crowded_windows(patches, n, size=160):
    """The windows with most true sources that have a neighbour within 12 pixels, one of each image
    at most.
    """
    best = []
    for index, truth in enumerate(patches.truth):
        where = centres(truth)[distance_to_nearest(truth) < 12]
        side = min(size, *truth.shape)
        grid = itertools.product(*(range(0, full - side + 1, 16) for full in truth.shape))
        counts = [
            (int(((where >= (y, x)) & (where < (y + side, x + side))).all(axis=1).sum()), y, x)
            for y, x in grid
        ]
        count, y, x = max(counts)
        best.append((count, index, slice(y, y + side), slice(x, x + side)))
    chosen = sorted(best, key=lambda window: -window[0])[:n]
    return [window[1:] for window in sorted(chosen, key=lambda window: window[1])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=list(DATA))
    nets = parser.add_mutually_exclusive_group(required=True)
    nets.add_argument("--net", type=Path, help="file of a trained MaskRCNNSegmenter")
    nets.add_argument("--shipped", action="store_true", help="the nets that ship with the package")
    parser.add_argument(
        "--keep", type=Path, default=Path("build/elsewhere"), help="folder of the fine-tuned nets"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("build/elsewhere"), help="folder of the numbers"
    )
    parser.add_argument(
        "--pictures", type=Path, help="folder of the pictures; by default the folder of the numbers"
    )
    options = parser.parse_args()
    setting, read = DATA[options.what]
    parts = read(Path(os.environ["GALAXYSEGMENT_DATA"]))
    warnings.simplefilter("ignore", NoSourcesWarning)
    runs = {}
    rows = (
        shipped_systems(setting, parts)
        if options.shipped
        else systems(options.what, options.net, options.keep, setting, parts)
    )
    for name, run in rows:
        runs[name] = run()
        print(name, runs[name][2], flush=True)
    report(setting, join(parts), runs, options)


def report(setting, patches, runs, options):
    """Score the sources of every system; print, store and draw the results."""
    rows = {
        name: {**score(patches, *run[:2], setting), "fits": run[2]} for name, run in runs.items()
    }
    print_tables(setting, rows)
    picture = f"{options.what}{'_shipped' * options.shipped}.png"
    words = "--shipped" if options.shipped else f"--net {options.net.name}"
    common = {
        "net": "" if options.shipped else options.net.stem,
        "command": f"python -m benchmarks.bench_elsewhere {options.what} {words}",
        "picture": picture,
    }
    measured_on = {"versions": versions(), "machine": machine(), "date": time.strftime("%Y-%m-%d")}
    versions_of = {item.label: version_of_weights(item) for item in SYSTEMS.values()}
    for name, row in rows.items():
        weights = {"weights": versions_of[name]} if versions_of.get(name) else {}
        told = {"setting": options.what, "system": name, **common, **weights}
        add_run(
            options.output / f"{options.what}.csv",
            plain({**told, **row, **measured_on}),
            lambda other: other["system"],
        )
    path = (options.pictures or options.output) / picture
    path.parent.mkdir(parents=True, exist_ok=True)
    windows = crowded_windows(patches, 3 if setting.classes else 5)
    draw(patches, {name: run[0] for name, run in runs.items()}, windows, setting.n_pixels, path)


if __name__ == "__main__":
    main()

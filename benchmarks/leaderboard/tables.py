"""The tables of the page, as rows of text."""

import itertools

import numpy as np

from .store import dig, number

PIXEL_COLUMNS = {
    "IoU": "pixels.mean.iou",
    "recall": "pixels.mean.recall",
    "Dice": "pixels.mean.dice",
    "accuracy": "pixels.mean.accuracy",
    "IoU, pooled": "pixels.pooled.iou",
    "Dice, pooled": "pixels.pooled.dice",
}
SOURCE_COLUMNS = {
    "precision": "sources.precision",
    "recall": "sources.recall",
    "F1": "sources.f1",
    "F1, 20 pixels": "sources of 20 pixels.f1",
    "AP": "segm.all.AP",
    "AP50": "segm.all.AP50",
    "AP75": "segm.all.AP75",
    "AR": "segm.all.AR",
    "box AP50": "bbox.all.AP50",
}
PANOPTIC_COLUMNS = {
    f"{name} {score}": f"panoptic.{name}.{score}"
    for name in ("all", "sky", "galaxy")
    for score in ("PQ", "SQ", "RQ")
}
STAR_COLUMNS = {
    f"{name}, {score}": f"segm.{key}.{score}"
    for name, key in (("galaxies", "galaxy"), ("stars", "star"))
    for score in ("AP", "AP50", "AP75", "AR")
} | {
    f"{name}, {score}": f"panoptic.{key}.{score}"
    for name, key in (("galaxies", "galaxy"), ("stars", "star"))
    for score in ("PQ", "SQ", "RQ")
}
ISOPHOTE_COLUMNS = {"1/2 RMS": 0, "1 RMS": 1, "2 RMS": 2, "4 RMS": 3}
COST_COLUMNS = {
    "training, s": "fit.seconds",
    "choosing, s": "fit.choosing_seconds",
    "prediction, s a patch": "predict.seconds_per_patch",
    "processor s a patch": "",
    "training, MiB": "fit.memory_mib",
    "prediction, MiB": "predict.memory_mib",
}


_TALL = 12  # rows


def rst_table(header, rows):
    """Make a csv-table of rows of text; a long table scrolls in a box of its own."""
    if not rows:
        return ["No run has this yet.", ""]
    lines = [".. csv-table::", f"   :header: {_csv(header)}", "   :widths: auto"]
    lines += ["   :class: tall", ""] if len(rows) > _TALL else [""]
    return [*lines, *(f"   {_csv(row)}" for row in rows), ""]


def _csv(cells):
    return ", ".join('"' + cell.replace('"', '""') + '"' for cell in cells)


def score_table(store, setting, columns, only=None):
    """One row for each system and variant, the best of each column in bold, seeds at the end."""
    groups = [group for group in store.groups(setting) if only is None or only(group)]
    best = {
        path: max(
            (group.mean(path) for group in groups if group.mean(path) is not None), default=None
        )
        for path in columns.values()
    }
    rows = []
    for group in groups:
        if group.missing:
            rows.append([_peer(group), *["not installed"] * len(columns), "–"])
            continue
        cells = [
            _bold(group.text(path), group.mean(path) == best[path] is not None)
            for path in columns.values()
        ]
        rows.append([_peer(group), *cells, str(len(group.runs))])
    return rst_table(["system", *columns, "seeds"], rows)


def _peer(group):
    return f"*{group.name}*" if group.peer else group.name


def _bold(text, yes):
    return f"**{text}**" if yes and text != "–" else text


def bin_table(store, setting, path, label, only=bool):
    """Fractions in bins, seeds added up: one row for each system."""
    rows, header = [], []
    for group in store.groups(setting):
        n, hits = group.total(f"{path}.n"), group.total(f"{path}.n_hit")
        if n is None or not only(group):
            continue
        header = bin_names(next(run for run in group.runs if dig(run, path)), path)
        rows.append(
            [
                _peer(group),
                *(
                    number(hit / total) if total else "–"
                    for hit, total in zip(hits, n, strict=True)
                ),
            ]
        )
    return rst_table([f"system; {label}", *header], rows)


def bin_names(run, path):
    edges = run
    for name in path.split("."):
        edges = edges[name]
    edges = edges["edges"]
    return [
        f"< {high:g}" if low is None else f"≥ {low:g}" if high is None else f"{low:g}–{high:g}"
        for low, high in itertools.pairwise(edges)
    ]


def robustness_table(store, score):
    groups = [group for group in store.groups("A") if group.runs[0].get("robustness")]
    names = list(groups[0].runs[0]["robustness"]) if groups else []
    rows = [
        [_peer(group), *(group.text(f"robustness.{name}.{score}") for name in names)]
        for group in groups
    ]
    return rst_table(["system", *names], rows)


def isophote_table(store, columns):
    """Pooled pixel IoU with truths that end at several isophotes."""
    rows = []
    for group in store.groups("A"):
        runs = [run for run in group.runs if run.get("isophotes")]
        if runs:
            means = np.mean([run["isophotes"]["iou"] for run in runs], axis=0)
            cells = [number(float(means[index])) for index in columns.values()]
            rows.append([_peer(group), *cells, str(len(runs))])
    return rst_table(["system; truth ends at", *columns, "seeds"], rows)


def at_purity(curve, purity):
    """Largest completeness of a sweep at a purity of at least `purity`, straight lines between its
    points.
    """
    completeness, pure = (np.array(curve[name], dtype=float) for name in ("completeness", "purity"))
    best = completeness[pure >= purity].max(initial=0.0)
    for i in range(len(pure) - 1):
        low, high = sorted((i, i + 1), key=lambda k: pure[k])
        if pure[low] < purity <= pure[high]:
            share = (purity - pure[low]) / (pure[high] - pure[low])
            best = max(best, completeness[low] + share * (completeness[high] - completeness[low]))
    return float(best)


def unseen_table(store, purities=(0.8, 0.9, 0.95)):
    """Completeness at equal purity on fields that nothing was tuned on."""
    groups = [group for group in store.groups("A") if group.runs[0].get("unseen")]
    fields = sorted(
        {name for group in groups for run in group.runs for name in run.get("unseen", ())},
        reverse=True,
    )
    wanted = [(name, purity) for name in fields for purity in purities]
    rows = [[_mean_at(group, *place) for place in wanted] for group in groups]
    best = [
        max((value for value in column if value is not None), default=None)
        for column in zip(*rows, strict=True)
    ]
    texts = [
        [
            _peer(group),
            *(
                _bold(number(v), v == top) if v is not None else "–"
                for v, top in zip(row, best, strict=True)
            ),
        ]
        for group, row in zip(groups, rows, strict=True)
    ]
    return rst_table(
        ["system", *(f"{name}, at {number(purity, 2)}" for name, purity in wanted)], texts
    )


def _mean_at(group, name, purity):
    predicted = [
        at_purity(run["unseen"][name], purity)
        for run in group.runs
        if name in run.get("unseen", ())
    ]
    return float(np.mean(predicted)) if predicted else None


def calibration_table(store):
    rows = []
    for group in store.groups("A"):
        errors = [uncertain_error(run["calibration"]) for run in group.runs if "calibration" in run]
        if errors:
            cells = [group.text(f"calibration.{name}", 4) for name in ("ECE", "Brier", "loss")]
            rows.append([group.name, number(float(np.mean(errors))), *cells])
    return rst_table(
        [
            "system",
            "calibration error, probability .05 to .95",
            "of all pixels",
            "Brier score",
            "cross-entropy",
        ],
        rows,
    )


def uncertain_error(curve):
    """Expected calibration error of the pixels with a probability between .05 and .95."""
    n_bins = len(curve["count"])
    inside = slice(round(0.05 * n_bins), round(0.95 * n_bins))
    predicted, observed, count = (
        np.array(curve[name], dtype=float)[inside] for name in ("predicted", "observed", "count")
    )
    return float(np.nansum(np.abs(predicted - observed) * count) / count.sum())


def cost_table(store, setting):
    rows = []
    for group in store.groups(setting):
        if group.missing:
            continue
        processor = [run["predict"]["processor_seconds"] / run["n_test"] for run in group.runs]
        cells = [
            group.text(path, 0, spread=False) for path in ("fit.seconds", "fit.choosing_seconds")
        ]
        cells += [
            group.text("predict.seconds_per_patch", 4, spread=False),
            number(float(np.mean(processor)), 4),
        ]
        cells += [
            group.text(path, 0, spread=False) for path in ("fit.memory_mib", "predict.memory_mib")
        ]
        rows.append([_peer(group), *cells])
    return rst_table(["system", *COST_COLUMNS], rows)


def command_table(store):
    """One row for each system and variant; ``--seeds 3`` stands for the seeds 0, 1 and 2."""
    rows = [
        [words, ", ".join(sorted({run["date"] for run in runs})), _each(map(_settings, runs))]
        for words, runs in commands(store)
    ]
    return rst_table(
        ["``python -m benchmarks.leaderboard`` …", "date", "what was chosen or planned"], rows
    )


def commands(store):
    """Words of the commands that write the rows, and the rows: list of (str, list of dict).

    Rows of one system and variant that differ only in their seed, 0 to n − 1, share a command.
    """
    grouped = {}
    for run in store.runs:
        words = run["command"].removeprefix("python -m benchmarks.leaderboard ")
        words = words.replace(f" --seed {run['seed']}", " --seed {}", 1)
        grouped.setdefault(words, []).append(run)
    told = []
    for words, runs in grouped.items():
        if len(runs) > 1 and [run["seed"] for run in runs] == list(range(len(runs))):
            told.append((words.replace("--seed {}", f"--seeds {len(runs)}"), runs))
        else:
            told += [(words.format(run["seed"]), [run]) for run in runs]
    return told


def _each(texts):
    """Join the texts of the seeds; a text that they share stands once."""
    texts = list(texts)
    return (
        texts[0]
        if len(set(texts)) == 1
        else "; ".join(f"seed {seed}: {text}" for seed, text in enumerate(texts))
    )


def _settings(run):
    if run.get("not installed"):
        return run["not installed"]
    plan = dict(run.get("plan", {}))
    params = plan.pop("params", {})
    told = {**plan, **params, **run.get("chosen", {})}
    return ", ".join(f"{name} = {value}" for name, value in told.items()) or "–"

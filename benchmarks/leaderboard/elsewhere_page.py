"""The page's section on images of other simulators, from results of `bench_elsewhere`."""

from .elsewhere import BTK, GALSIM
from .store import number
from .tables import bin_names, rst_table

SETTINGS = {item.name: item for item in (GALSIM, BTK)}
COLUMNS = {
    "AP": "segm.all.AP",
    "AP50": "segm.all.AP50",
    "AP75": "segm.all.AP75",
    "precision": "sources.precision",
    "recall": "sources.recall",
    "F1": "sources.f1",
    "IoU of pixels": "iou",
}
CLASS_COLUMNS = {"galaxies, AP50": "segm.galaxy.AP50", "stars, AP50": "segm.star.AP50"}
BINS = {
    "separation": (
        "Galaxies and stars found, against the distance in pixels to the next one; their number "
        "in brackets:"
    ),
    "completeness by snr": "Found, against S/N in r:",
}
INTRODUCTION = """\
A Mask R-CNN of this page on images that it was not trained for: as it was, and after two to four
minutes of one core's fine-tuning on one part of the images, the other part scored. The programs of
others have their parameters chosen on the part that is not scored. All rows see the same pixels.
Average precision counts stars and galaxies alike.
"""


def section(tables):
    """Lines of the section; none if no table is stored."""
    if not tables:
        return []
    title = "Images of other simulators"
    lines = [title, "-" * len(title), "", INTRODUCTION]
    for name, rows in tables.items():
        lines += _setting(SETTINGS[name], {row["system"]: row for row in rows})
    return lines


def in_short(tables):
    """One line for each simulator: the net without training, beside the best tuned program."""
    lines = []
    for name, rows in tables.items():
        scores = {row["system"]: row["sources"]["f1"] for row in rows}
        untrained = {system: f1 for system, f1 in scores.items() if system.endswith("as it was")}
        tuned = {system: f1 for system, f1 in scores.items() if system.endswith("tuned")}
        tuned = {system: f1 for system, f1 in tuned.items() if "fine" not in system}
        if untrained and tuned:
            (net, f1), (peer, best) = untrained.popitem(), max(tuned.items(), key=lambda it: it[1])
            verdict = "ahead of" if f1 >= best else "behind"
            lines.append(
                f"- {SETTINGS[name].title}, which no net was trained on: {net} has a source F1 of "
                f"{number(f1)}, {verdict} {peer} ({number(best)})."
            )
    return lines


def _setting(setting, rows):
    first = next(iter(rows.values()))
    columns = {**COLUMNS, **(CLASS_COLUMNS if setting.classes else {})}
    lines = [
        f"**{setting.title}.** {setting.text} The net was trained in setting {first['net'][0]}.",
        "",
    ]
    lines += rst_table(
        ["system", *columns],
        [[name, *(_at(row, path) for path in columns.values())] for name, row in rows.items()],
    )
    for path, text in BINS.items():
        names = [
            f"{name} ({n})"
            for name, n in zip(bin_names(first, path), first[path]["n"], strict=True)
        ]
        lines += [
            text,
            "",
            *rst_table(
                ["system", *names], [[name, *_shares(row[path])] for name, row in rows.items()]
            ),
        ]
    return [*lines, f"Fits: {_fits(rows)}.", "", *_picture(first)]


def _at(row, path):
    for name in path.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return "–" if row is None else number(row)


def _shares(bins):
    return [
        number(hit / n, 2) if n else "–" for hit, n in zip(bins["n_hit"], bins["n"], strict=True)
    ]


def _fits(rows):
    """The chosen parameters and the time of the fine-tuning, system by system."""
    told = []
    for name, row in rows.items():
        for fit in row["fits"]:
            chosen = ", ".join(f"{key} = {value}" for key, value in fit.get("chosen", {}).items())
            seconds = fit.get("processor_seconds")
            words = [f"{seconds:.0f} processor seconds"] if seconds is not None else []
            words += [chosen] if chosen else []
            if words:
                told.append(f"{name}: {', '.join(words)}")
    return "; ".join(dict.fromkeys(told))


def _picture(row):
    if "picture" not in row:
        return []
    caption = "Outlines of every mask, overlapping ones too: the truth, and what each system finds."
    return [f".. figure:: /_static/elsewhere/{row['picture']}", "", f"   {caption}", ""]

"""The pages of the documentation, made from the stored results and from nothing else.

The first page begins with a summary: a row a contest, and a picture. Each setting has a page of its
own.
"""

from pathlib import Path

from . import elsewhere_page, equal_page, summary
from .about import ABOUT
from .budgets import budget_table, not_run
from .figures import write_figures
from .reported import REPORTED, STUDY_OF
from .run import key
from .settings import SETTINGS
from .store import FORMER, Store, number
from .systems import SYSTEMS
from .tables import (
    ISOPHOTE_COLUMNS,
    PANOPTIC_COLUMNS,
    PIXEL_COLUMNS,
    SOURCE_COLUMNS,
    STAR_COLUMNS,
    bin_table,
    calibration_table,
    command_table,
    cost_table,
    isophote_table,
    robustness_table,
    rst_table,
    score_table,
    unseen_table,
)
from .texts import (
    CALIBRATION,
    COMMANDS,
    CONDITIONS,
    COSTS,
    DUELS,
    FORMER_ROWS,
    INTRODUCTION,
    ISOPHOTES,
    LIMITS,
    OLD_ROWS,
    TRIED,
    UNSEEN,
)
from .verdicts import (
    against_peers,
    changed,
    compare_reported,
    goal_table,
    tried_table,
)

CAPTIONS = {
    "summary": (
        "Each dot is a score: how far our best is ahead of the best of others. Red dots, left of "
        "the line, are behind. The scale is that of a square root, so that small gaps can be seen."
    ),
    "completeness": ("Completeness and purity at a mask IoU of 0.5. Dashed: programs of others."),
    "separation": "Recall against the distance between the two galaxies.",
    "unseen": "Completeness against purity on fields that nothing was tuned on, by position.",
    "stars": ("Precision against recall at an IoU of 0.5, and average precision against the IoU."),
    "calibration": (
        "Reliability of the probabilities in setting A. Calibrated probabilities lie on the grey "
        "line."
    ),
}
MADE = (
    ".. Made from the tables in benchmarks/leaderboard/results: python -m benchmarks.leaderboard "
    "page."
)


def write_page(results, output):
    """Write the pages and their figures; return the path of the first page."""
    output, store = Path(output), Store(results)
    output.parent.mkdir(parents=True, exist_ok=True)
    figures = figure_folder(output)
    write_figures(store, figures)
    names = {item.stem for item in figures.glob("*.png")}
    for suffix, text in make_pages(store, names, output.stem).items():
        path = output.with_name(f"{output.stem}{suffix}.rst")
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return output


def figure_folder(output):
    """Beside a page of the guide it is docs/_static/leaderboard, elsewhere a folder beside the
    page.
    """
    if output.parent.name == "guide":
        return output.parent.parent / "_static" / "leaderboard"
    return output.parent / "leaderboard"


def make_pages(store, figures=(), stem="leaderboard", where="/_static/leaderboard"):
    """Make the text of every page: dict of the suffix of its file name, "" for the first."""

    def figure(name):
        return (
            [f".. figure:: {where}/{name}.png", "", f"   {CAPTIONS[name]}", ""]
            if name in figures
            else []
        )

    pages = {
        "_a": (SETTINGS["A"].title, _setting_a(store, figure)),
        "_b": (SETTINGS["B"].title, _setting_b(store, figure)),
        "_c": (SETTINGS["C"].title, _setting_c(store, figure)),
        "_equal": ("Equal data, equal minutes", equal_page.lines(store.equal, _longest(store))),
        "_elsewhere": (
            "Images of other simulators",
            [*elsewhere_page.lines(store.elsewhere, store.untrained), *_former(store)],
        ),
        "_conditions": ("Other conditions, calibration", _conditions(store, figure)),
        "_systems": ("Rows, budgets and commands", _systems(store)),
    }
    texts = {
        suffix: "\n".join([MADE, "", *_section(title, "="), *body]) + "\n"
        for suffix, (title, body) in pages.items()
    }
    first = [MADE, "", *_section("Leaderboard", "="), *summary.lines(store, figure("summary"))]
    first += [".. toctree::", "   :maxdepth: 1", ""]
    first += [*(f"   {stem}{suffix}" for suffix in pages), ""]
    return {"": "\n".join([*first, *_overview(store)]) + "\n", **texts}


# ---- the first page ----


def _overview(store):
    return [
        *_smaller(store),
        INTRODUCTION,
        *_former(store),
        f"Machine: {_machine(store)}.",
        "",
        *_section("What these numbers do not show", "-"),
        LIMITS,
        *_section("Against the programs of others", "-"),
        DUELS,
        *against_peers(store),
        *_section("Against the reported numbers", "-"),
        "Reported by "
        + ", ".join(f"[{label}]_ ({name})" for name, label in STUDY_OF.items())
        + ".",
        "",
        *compare_reported(store),
        *_section("What changed sign since the first edition", "-"),
        "A lead that became a deficit, and the other way round. The first edition let our best "
        "meet the peers' best, whatever each was trained on, and put our main preprocessing beside "
        "reported rows of other preprocessing. On images of other simulators it had no shipped "
        "nets. Its numbers are in ``benchmarks/leaderboard/first_edition.csv``.",
        "",
        *changed(store),
        *_section("Goals", "-"),
        *goal_table(store),
        TRIED,
        *tried_table(store),
    ]


def _former(store):
    """Explain the mark of rows by former weights, if there are any."""
    marked = any(group.former for name in SETTINGS for group in store.groups(name))
    rows = (row for table in store.elsewhere.values() for row in table)
    marked |= any(row["system"].endswith(FORMER) for row in rows)
    return [FORMER_ROWS, ""] if marked else []


def _section(title, mark):
    return [title, mark * len(title), ""]


def _smaller(store):
    """Say so where not everything was run at full scale."""
    scales = sorted({run["scale"] for run in store.runs} - {"full"})
    if not scales:
        return []
    budgets = sorted(
        {
            run["budget"]
            for run in store.runs
            if run["scale"] != "full" and SYSTEMS[run["system"]].net
        }
    )
    minutes = (
        f", and nets trained for {' or '.join(f'{item:g}' for item in budgets)} minutes"
        if budgets
        else ""
    )
    return [
        f"**A smaller round** (scale {' and '.join(scales)}): few images to train and test "
        f"on{minutes}.",
        "",
    ]


def _machine(store):
    seen = {
        (run["machine"].get("gpu") or run["machine"]["processor"], run["machine"]["cores"])
        for run in store.runs
    }
    return "; ".join(f"{name}, {n} core{'s' * (n > 1)}" for name, n in sorted(seen)) or "none yet"


# ---- a page a setting ----


def _is_main(group):
    return group.main


def _counts(store, name):
    setting, groups = SETTINGS[name], store.groups(name)
    scored = [run for group in groups for run in group.runs if "sources" in run]
    counts = sorted({(run["n_test"], run["sources"]["n_true"]) for run in scored})
    told = "; ".join(f"{patches} patches with {sources} sources" for patches, sources in counts)
    text = f"{setting.text} Tested on, by seed: {told or 'nothing yet'}."
    marks = [OLD_ROWS] * any(group.old for group in groups)
    marks += [FORMER_ROWS] * any(group.former for group in groups)
    return " ".join([text, *marks])


def _areas(store, name):
    return [
        "Found, by the pixels of the true mask. COCO calls objects under 1024 pixels small and "
        "those from 9216 large:",
        "",
        *bin_table(store, name, "completeness by area", "pixels", _is_main),
    ]


def _setting_a(store, figure):
    lines = [_counts(store, "A"), ""]
    lines += ["Pixels, galaxy against sky; means over patches, and pooled over all pixels:", ""]
    lines += score_table(store, "A", PIXEL_COLUMNS)
    lines += ["Sources:", "", *score_table(store, "A", SOURCE_COLUMNS)]
    lines += ["Panoptic quality:", "", *score_table(store, "A", PANOPTIC_COLUMNS)]
    lines += [*figure("completeness"), "Completeness against signal to noise:", ""]
    lines += bin_table(store, "A", "completeness by snr", "S/N", _is_main)
    lines += ["Completeness against magnitude (S/N 5 for a point source is 27):", ""]
    lines += bin_table(store, "A", "completeness by mag", "magnitude", _is_main)
    lines += ["Purity against the measured signal to noise:", ""]
    lines += bin_table(store, "A", "purity by snr", "S/N", _is_main)
    return [*lines, *_areas(store, "A"), ISOPHOTES, *isophote_table(store, ISOPHOTE_COLUMNS)]


def _setting_b(store, figure):
    lines = [_counts(store, "B"), ""]
    lines += score_table(store, "B", {**SOURCE_COLUMNS, "IoU of pixels": "pixels.mean.iou"})
    lines += [*figure("separation"), "Galaxies found, against the distance between the two:", ""]
    lines += bin_table(store, "B", "separation.sources", "pixels")
    lines += ["Pairs of which both were found:", ""]
    return [*lines, *bin_table(store, "B", "separation.both", "pixels"), *_areas(store, "B")]


def _setting_c(store, figure):
    lines = [_counts(store, "C"), "", "Systems that tell stars from galaxies:", ""]
    lines += score_table(store, "C", STAR_COLUMNS, lambda run: bool(run.values("segm.galaxy.AP")))
    lines += ["All systems, stars and galaxies alike:", ""]
    lines += score_table(store, "C", SOURCE_COLUMNS)
    return [*lines, *figure("stars"), *_areas(store, "C"), *_setting_c8(store)]


def _setting_c8(store):
    """Make the section on setting C at the seeing of a survey; empty without its rows."""
    if not store.groups("C8"):
        return []
    reported = [cell for cell in REPORTED if cell.setting == "C"]
    told = " and ".join(f"{number(cell.value)} ({cell.name})" for cell in reported)
    lines = [*_section("At the seeing of a survey", "-"), _counts(store, "C8"), ""]
    lines += [f"[Shah2020]_ reports {told} on real images of such seeing.", ""]
    lines += score_table(store, "C8", STAR_COLUMNS, lambda run: bool(run.values("segm.galaxy.AP")))
    lines += ["All systems, stars and galaxies alike:", ""]
    lines += score_table(store, "C8", SOURCE_COLUMNS)
    return [
        *lines,
        "Completeness against signal to noise:",
        "",
        *bin_table(store, "C8", "completeness by snr", "S/N", _is_main),
    ]


# ---- the other pages ----


def _longest(store):
    """The runs that end the learning curve of setting B; empty without them."""
    group = store.get("B", "mask_rcnn", "raw")
    return group.runs if group else []


def _conditions(store, figure):
    return [
        *_section("Under other conditions, without training again", "-"),
        CONDITIONS,
        "Source F1:",
        "",
        *robustness_table(store, "f1"),
        "Mean pixel IoU:",
        "",
        *robustness_table(store, "iou"),
        *_section("A field that nothing was tuned on", "-"),
        UNSEEN,
        *figure("unseen"),
        *unseen_table(store),
        *_section("Calibration", "-"),
        CALIBRATION,
        *figure("calibration"),
        *calibration_table(store),
    ]


def _systems(store):
    shown = {run["system"] for run in store.runs}
    rows = [
        [f"*{system.label}*" if system.peer else system.label, ABOUT[name]]
        for name, system in SYSTEMS.items()
        if name in shown
    ]
    lines = [*_section("What each row is", "-"), *rst_table(["row", "what it is"], rows)]
    lines += [*_section("Budgets", "-"), *budget_table(store)]
    lines += [*_section("Not run", "-"), *not_run(store)]
    lines += [*_section("Time and memory", "-"), COSTS]
    for name, setting in SETTINGS.items():
        lines += [f"{setting.title}:", "", *cost_table(store, name)]
    return [*lines, *_commands(store)]


def _commands(store):
    versions = [run["versions"] for run in store.runs]
    names = sorted({name for installed in versions for name in installed})
    rows = [
        [name, ", ".join(sorted({installed[name] for installed in versions if name in installed}))]
        for name in names
    ]
    return [
        *_section("Commands and versions", "-"),
        COMMANDS,
        *_left_out(store),
        *command_table(store),
        *(rst_table(["package", "version"], rows) if rows else []),
    ]


def _left_out(store):
    """Name the runs that no command repeats, if there are any."""
    if not store.left_out:
        return []
    names = ", ".join(f"``{key(run)}``" for run in store.left_out)
    return [
        f"Left out of this page, because another program trained their nets: {names}. Their rows "
        "are in the tables.",
        "",
    ]


def readme_table(store):
    """Make the README's table: the main variant of every system, in Markdown."""
    columns = {
        ("A", "IoU"): "pixels.mean.iou",
        ("A", "Dice"): "pixels.mean.dice",
        ("A", "source F1"): "sources.f1",
        ("A", "AP50"): "segm.all.AP50",
        ("A", "galaxy PQ"): "panoptic.galaxy.PQ",
        ("B", "source F1"): "sources.f1",
        ("B", "AP50"): "segm.all.AP50",
        ("C", "AP50 galaxies"): "segm.galaxy.AP50",
        ("C", "AP50 stars"): "segm.star.AP50",
    }
    systems = list(dict.fromkeys(run["system"] for run in store.runs))
    lines = [
        "| system | " + " | ".join(f"{setting}: {name}" for setting, name in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for system in systems:
        mains = {
            group.setting: group
            for setting in SETTINGS
            for group in store.groups(setting)
            if group.system == system and group.main
        }
        if not any(item.runs[0].get("sources") for item in mains.values()):
            continue
        values = [
            mains[setting].mean(path) if setting in mains else None
            for (setting, _), path in columns.items()
        ]
        label = next(iter(mains.values())).label
        lines.append(
            f"| {label} | "
            + " | ".join("–" if value is None else number(value) for value in values)
            + " |"
        )
    return "\n".join(lines)


__all__ = ["make_pages", "readme_table", "write_page"]

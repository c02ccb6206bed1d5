"""The page of the documentation, made from the stored results and from nothing else."""

from pathlib import Path

from . import elsewhere_page
from .figures import write_figures
from .reported import NAMES, STUDY_OF
from .run import key
from .settings import SETTINGS
from .store import Store, number
from .systems import SYSTEMS
from .tables import (
    PANOPTIC_COLUMNS,
    PIXEL_COLUMNS,
    SOURCE_COLUMNS,
    STAR_COLUMNS,
    against_peers,
    bin_table,
    calibration_table,
    cells_behind,
    command_table,
    compare_reported,
    cost_table,
    duels,
    goal_table,
    robustness_table,
    rst_table,
    score_table,
    unseen_table,
)
from .texts import CALIBRATION, COMMANDS, CONDITIONS, COSTS, INTRODUCTION, LIMITS, UNSEEN

CAPTIONS = {
    "completeness": (
        "Setting A: completeness and purity at a mask IoU of 0.5. Dashed: programs of others."
    ),
    "separation": "Setting B: recall against the distance between the two galaxies.",
    "unseen": "Completeness against purity on fields that nothing was tuned on, by position.",
    "stars": (
        "Setting C: precision against recall at an IoU of 0.5, and average precision against the "
        "IoU."
    ),
    "calibration": (
        "Reliability of the probabilities in setting A. Calibrated probabilities lie on the grey "
        "line."
    ),
}


def write_page(results, output):
    """Write the page and its figures; return the page's path."""
    output, store = Path(output), Store(results)
    output.parent.mkdir(parents=True, exist_ok=True)
    figures = figure_folder(output)
    write_figures(store, figures)
    output.write_text(make_text(store, {item.stem for item in figures.glob("*.png")}))
    return output


def figure_folder(output):
    """Beside a page of the guide it is docs/_static/leaderboard, elsewhere a folder beside the
    page.
    """
    if output.parent.name == "guide":
        return output.parent.parent / "_static" / "leaderboard"
    return output.parent / "leaderboard"


def make_text(store, figures=(), where="/_static/leaderboard"):
    """Make the page's text."""

    def figure(name):
        return (
            [f".. figure:: {where}/{name}.png", "", f"   {CAPTIONS[name]}", ""]
            if name in figures
            else []
        )

    lines = [*_head(store), *_in_short(store), *_reported(store)]
    lines += [*_section(SETTINGS["A"].title, "-"), _counts(store, "A"), ""]
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
    lines += [*_section(SETTINGS["B"].title, "-"), _counts(store, "B"), ""]
    lines += score_table(store, "B", {**SOURCE_COLUMNS, "IoU of pixels": "pixels.mean.iou"})
    lines += [*figure("separation"), "Galaxies found, against the distance between the two:", ""]
    lines += bin_table(store, "B", "separation.sources", "pixels")
    lines += [
        "Pairs of which both were found:",
        "",
        *bin_table(store, "B", "separation.both", "pixels"),
    ]
    lines += [*_section(SETTINGS["C"].title, "-"), _counts(store, "C"), ""]
    lines += ["Systems that tell stars from galaxies:", ""]
    lines += score_table(store, "C", STAR_COLUMNS, lambda run: bool(run.values("segm.galaxy.AP")))
    lines += [
        "All systems, stars and galaxies alike:",
        "",
        *score_table(store, "C", SOURCE_COLUMNS),
    ]
    lines += figure("stars")
    return (
        "\n".join([*lines, *_conditions(store, figure), *_costs(store), *_commands(store)]) + "\n"
    )


def _is_main(group):
    return group.main


def _section(title, mark):
    return [title, mark * len(title), ""]


def _head(store):
    return [
        ".. Made from the tables in benchmarks/leaderboard/results when the documentation is "
        "built.",
        "",
        *_section("Leaderboard", "="),
        INTRODUCTION,
        f"Machine: {_machine(store)}.",
        "",
        *_smaller(store),
    ]


def _in_short(store):
    """The page in a few sentences, made from the numbers; losses come first."""
    behind, n_compared = cells_behind(store)
    pairs = duels(store)
    lost = [pair for pair in pairs if pair.lead < 0]
    lines = _section("In short", "-")
    if n_compared:
        names = _join(dict.fromkeys(SYSTEMS[cell.system].label for cell in behind))
        where = f" ({names})" if behind else ""
        lines.append(
            f"- Behind {len(behind)} of {n_compared} reported numbers{where}, on other images."
        )
    if pairs:
        told = _join(f"{NAMES[pair.path]} of setting {pair.setting}" for pair in lost)
        where = f" ({told})" if lost else ""
        lines.append(
            f"- Behind the best program of others, trained or tuned on the same images, in "
            f"{len(lost)} of {len(pairs)} scores{where}."
        )
        closest = next((pair for pair in pairs if pair.lead >= 0), None)
        if closest is not None:
            lines.append(
                f"- The smallest lead is {_lead(closest)}, the largest {_lead(pairs[-1])}."
            )
    lines += elsewhere_page.in_short(store.elsewhere)
    return [*lines, "", *_section("What these numbers do not show", "-"), LIMITS]


def _lead(pair):
    return f"{number(pair.lead, 4)} ({NAMES[pair.path]} of setting {pair.setting})"


def _join(names):
    return ", ".join(names)


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


def _reported(store):
    return [
        *_section("Against the reported numbers", "-"),
        "Reported by "
        + ", ".join(f"[{label}]_ ({name})" for name, label in STUDY_OF.items())
        + ".",
        "",
        *compare_reported(store),
        *_section("Goals", "-"),
        *goal_table(store),
        *_section("Against the programs of others", "-"),
        "Main variants, trained or tuned on the same images; the largest deficit comes first.",
        "",
        *against_peers(store),
    ]


def _counts(store, name):
    setting, groups = SETTINGS[name], store.groups(name)
    scored = [run for group in groups for run in group.runs if "sources" in run]
    counts = sorted({(run["n_test"], run["sources"]["n_true"]) for run in scored})
    told = "; ".join(f"{patches} patches with {sources} sources" for patches, sources in counts)
    return f"{setting.text} Tested on, by seed: {told or 'nothing yet'}."


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
        *elsewhere_page.section(store.elsewhere),
        *_section("Calibration", "-"),
        CALIBRATION,
        *figure("calibration"),
        *calibration_table(store),
    ]


def _costs(store):
    lines = [*_section("Time and memory", "-"), COSTS]
    for name, setting in SETTINGS.items():
        lines += [f"{setting.title}:", "", *cost_table(store, name)]
    return lines


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


__all__ = ["make_text", "readme_table", "write_page"]

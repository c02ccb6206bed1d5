"""The figures of the page, from the stored results alone."""

import itertools

import numpy as np

from .scores import SEPARATION_EDGES, SNR_EDGES
from .store import dig
from .summary import contests, lead
from .systems import SYSTEMS


def write_figures(store, folder):
    """Write all figures that the results suffice for, remove older ones; return their names."""
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    makers = {
        "summary": summary,
        "completeness": completeness,
        "separation": separation,
        "unseen": unseen,
        "stars": stars,
        "calibration": calibration,
    }
    names = []
    for name, make in makers.items():
        figure = make(store)
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
            names.append(name)
    for path in folder.glob("*.png"):
        if path.stem not in names:
            path.unlink()
    return names


def _axes(n, width=5.0, height=3.6, n_rows=None):
    """Make a figure with a row of axes, or with a grid of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n, height * (n_rows or 1)), layout="constrained")
    axes = figure.subplots(n_rows or 1, n, squeeze=False)
    return figure, axes[0] if n_rows is None else axes


def _style(group, index=None):
    """A system looks the same in all figures, unless its lines are numbered.

    Programs of others are dashed.
    """
    import matplotlib as mpl

    index = list(SYSTEMS).index(group.system) if index is None else index
    colours = mpl.colormaps["tab20"].colors
    strong, pale = colours[::2], colours[1::2]
    return {
        "color": (strong + pale)[index % 20],
        "linestyle": "--" if group.peer else "-",
        "marker": "osD^"[index // 10 % 2 + 2 * group.peer],
        "markersize": 3.5,
    }


def _fractions(group, path):
    n, hits = (group.total(f"{path}.{name}") for name in ("n", "n_hit"))
    return (
        None
        if n is None
        else [hit / total if total else np.nan for hit, total in zip(hits, n, strict=True)]
    )


def _bars(axes, groups, path, edges, label):
    names = [f"{a:g}–{b:g}" if np.isfinite(b) else f"≥ {a:g}" for a, b in itertools.pairwise(edges)]
    for group in groups:
        fractions = _fractions(group, path)
        if fractions is not None:
            axes.plot(range(len(names)), fractions, label=group.label, **_style(group))
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel(label)
    axes.set_ylim(0, 1.02)


def summary(store):
    """Every score of every contest: how far our best is ahead, in the order of the table."""
    items = contests(store)
    if not items:
        return None
    figure, (ax,) = _axes(1, width=8.5, height=1.2 + 0.3 * len(items))
    for place, item in enumerate(reversed(items)):
        leads = np.array([lead(score) for score in item.scores])
        colours = np.where(leads < 0, "tab:red", "tab:blue")
        ax.scatter(leads, np.full(len(leads), place), s=26, c=colours, alpha=0.6, linewidths=0)
    ax.axvline(0, color="0.3", linewidth=1)
    names = [f"{item.title}{' (former net)' * item.former}" for item in reversed(items)]
    ax.set_yticks(range(len(items)), names, fontsize=8)
    ax.set_xscale("function", functions=(_root, _square))
    ticks = [sign * tick for tick in (0.01, 0.1, 0.3, 0.6) for sign in (-1, 1)]
    ax.set_xticks(ticks, [f"{tick:+g}" for tick in ticks], fontsize=8)
    ax.set(xlim=(-0.9, 0.9), ylim=(-0.8, len(items) - 0.2))
    ax.set_xlabel("ours minus theirs: behind on the left, ahead on the right", fontsize=9)
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    return figure


def _root(values):
    return np.sign(values) * np.sqrt(np.abs(values))


def _square(values):
    return np.sign(values) * np.square(values)


def completeness(store):
    groups = [group for group in store.groups("A") if group.main and not group.missing]
    if not groups:
        return None
    figure, (left, right) = _axes(2)
    _bars(
        left, groups, "completeness by snr", SNR_EDGES, "signal-to-noise ratio of the true source"
    )
    _bars(
        right, groups, "purity by snr", SNR_EDGES, "signal-to-noise ratio of the predicted source"
    )
    left.set_ylabel("completeness")
    right.set_ylabel("purity")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=7)
    return figure


def separation(store):
    groups = [group for group in store.groups("B") if group.main and not group.missing]
    if not groups:
        return None
    figure, axes = _axes(2)
    for ax, path, label in zip(
        axes, ("sources", "both"), ("galaxies found", "pairs with both found"), strict=True
    ):
        _bars(ax, groups, f"separation.{path}", SEPARATION_EDGES, "separation, pixels")
        ax.set_ylabel(label)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7)
    return figure


def unseen(store):
    groups = [group for group in store.groups("A") if group.runs[0].get("unseen")]
    fields = sorted({name for group in groups for name in group.runs[0]["unseen"]}, reverse=True)
    if not fields:
        return None
    figure, axes = _axes(len(fields))
    for ax, name in zip(axes, fields, strict=True):
        for group in groups:
            curve = dig(group.runs[0], f"unseen.{name}")
            if curve:
                ax.plot(curve["purity"], curve["completeness"], label=group.label, **_style(group))
        ax.set(xlabel="purity", ylabel="completeness", title=name, xlim=(0.5, 1.01), ylim=(0, 1.02))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7)
    return figure


def stars(store):
    groups = [group for group in store.groups("C") if group.main and group.runs[0].get("curves")]
    if not groups:
        return None
    told_apart = [group for group in groups if "star" in group.runs[0]["curves"]]
    figure, rows = _axes(2, n_rows=2 if told_apart else 1)
    _curves(rows[0], [(group, "all", group.label, None) for group in groups], "all sources alike")
    if told_apart:
        kinds = ("galaxy", "galaxies"), ("star", "stars")
        lines = [
            (group, name, f"{group.label}, {plural}")
            for group in told_apart
            for name, plural in kinds
        ]
        _curves(
            rows[1],
            [(*line, index) for index, line in enumerate(lines)],
            "each class, where it is told",
        )
    return figure


def _curves(axes, lines, title):
    """Precision against recall, and AP against the IoU, one line for each of (group, class, label,
    number).
    """
    left, right = axes
    for group, name, label, index in lines:
        curve = group.runs[0]["curves"].get(name)
        if curve:
            style = {**_style(group, index), "marker": ""}
            left.plot(curve["recall"], curve["precision"], label=label, **style)
            right.plot(curve["iou"], curve["AP"], label=label, **style)
    left.set(
        xlabel="recall",
        ylabel="precision",
        title=f"{title}: IoU of 0.5",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    right.set(xlabel="least IoU of a match", ylabel="AP", title=title, ylim=(0, 1.02))
    right.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=7)


def calibration(store):
    groups = [group for group in store.groups("A") if group.runs[0].get("calibration")]
    if not groups:
        return None
    figure, (ax,) = _axes(1, width=6.5, height=4)
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for group in groups:
        curve = group.runs[0]["calibration"]
        pairs = [
            (p, o)
            for p, o in zip(curve["predicted"], curve["observed"], strict=True)
            if p is not None
        ]
        ax.plot(*zip(*pairs, strict=True), label=group.label, **_style(group))
    ax.set(xlabel="predicted probability", ylabel="fraction of galaxy pixels")
    ax.legend(fontsize=7)
    return figure

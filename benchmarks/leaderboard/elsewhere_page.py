"""The page on images of other simulators, from results of `bench_elsewhere`."""

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


def lines(tables):
    """Lines of the page."""
    text = [INTRODUCTION]
    for name, rows in tables.items():
        text += _setting(SETTINGS[name], {row["system"]: row for row in rows})
    return text


def lost_bins(rows, path):
    """Bins in which every net of ours is behind a tuned program: (bin, net, its share, peer, its
    share), and the number of bins.
    """
    names = bin_names(next(iter(rows.values())), path)
    lost, n_bins = [], 0
    for index, name in enumerate(names):
        shares = {
            system: row[path]["n_hit"][index] / row[path]["n"][index]
            for system, row in rows.items()
            if row[path]["n"][index]
        }
        nets, peers = (
            {k: v for k, v in shares.items() if _is_net(k) is side} for side in (True, False)
        )
        if not (nets and peers):
            continue
        n_bins += 1
        net, peer = (max(side, key=side.get) for side in (nets, peers))
        if nets[net] < peers[peer]:
            lost.append((name, net, nets[net], peer, peers[peer]))
    return lost, n_bins


def _is_net(system):
    return system.startswith("Mask R-CNN")


def _losses(rows):
    """Sentences on the bins that both forms of the net lose."""
    told = []
    for path, what in (("completeness by snr", "S/N"), ("separation", "a distance in pixels of")):
        lost, n_bins = lost_bins(rows, path)
        cases = "; ".join(
            f"{what} {name}: {number(share, 2)} ({net}) against {number(best, 2)} ({peer})"
            for name, net, share, peer, best in lost
        )
        if lost:
            told.append(f"**Behind** in {len(lost)} of {n_bins} bins: {cases}.")
    return ["\n".join(told), ""] if told else ["Behind in no bin.", ""]


def in_short(tables):
    """One line for each simulator: the net without training, beside the best tuned program."""
    told = []
    for name, rows in tables.items():
        scores = {row["system"]: row["sources"]["f1"] for row in rows}
        nets = {system: f1 for system, f1 in scores.items() if system.endswith("as it was")}
        peers = {system: f1 for system, f1 in scores.items() if not _is_net(system)}
        if nets and peers:
            (net, f1), (peer, best) = nets.popitem(), max(peers.items(), key=lambda it: it[1])
            lost, n_bins = lost_bins({row["system"]: row for row in rows}, "completeness by snr")
            verdict = "ahead of" if f1 >= best else "**behind**"
            told.append(
                f"- {SETTINGS[name].title}, drawn by another simulator: {net} has a source F1 of "
                f"{number(f1)}, {verdict} {peer} ({number(best)}). Even fine-tuned it is behind in "
                f"{len(lost)} of {n_bins} bins of S/N."
            )
    return told


def _setting(setting, rows):
    first = next(iter(rows.values()))
    columns = {**COLUMNS, **(CLASS_COLUMNS if setting.classes else {})}
    text = [
        setting.title,
        "-" * len(setting.title),
        "",
        f"{setting.text} The net was trained in setting {first['net'][0]}.",
        "",
    ]
    text += _losses(rows)
    text += rst_table(
        ["system", *columns],
        [[name, *(_at(row, path) for path in columns.values())] for name, row in rows.items()],
    )
    for path, caption in BINS.items():
        names = [
            f"{name} ({n})"
            for name, n in zip(bin_names(first, path), first[path]["n"], strict=True)
        ]
        text += [
            caption,
            "",
            *rst_table(
                ["system", *names], [[name, *_shares(row[path])] for name, row in rows.items()]
            ),
        ]
    return [*text, f"Fits: {_fits(rows)}.", "", *_picture(first)]


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

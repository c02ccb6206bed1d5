"""The page on images of other simulators, from results of `bench_elsewhere`."""

from .elsewhere import BTK, GALSIM
from .store import dig, number
from .tables import bin_names, rst_table

SETTINGS = {item.name: item for item in (GALSIM, BTK)}
SHORT = {"galsim": "Field drawn by GalSim", "btk": "Blends drawn by the BlendingToolKit"}
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
UNTRAINED = (
    ", by a script that is not part of this page: its command below repeats the fine-tuning and "
    "the scores, and not the net that they begin with."
)
LEAST = 10  # sources of a bin that is compared
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


def lines(tables, untrained=()):
    """Lines of the page; `untrained` names the nets that no command of the page trains."""
    text = [INTRODUCTION]
    for name, rows in tables.items():
        net = f"The net was trained in setting {rows[0]['net'][0]}"
        net += UNTRAINED if rows[0]["net"] in untrained else "."
        text += _setting(SETTINGS[name], {row["system"]: row for row in rows}, net)
    return text


def lost_bins(rows, path):
    """Bins in which every net of ours is behind a tuned program, among those with ten sources.

    Returns
    -------
    lost : list of (bin, net, its share, peer, its share)
    n_bins : int
    """
    first = next(iter(rows.values()))
    names = bin_names(first, path)
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
        if not (nets and peers) or first[path]["n"][index] < LEAST:
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


def comparisons(tables):
    """Each net beside the best tuned program in every score and every bin of S/N.

    List of a title and its scores (name, ours, theirs).
    """
    named = []
    for name, rows in tables.items():
        peers = [row for row in rows if not _is_net(row["system"])]
        for row in rows:
            if peers and _is_net(row["system"]):
                scores = _scores(row, peers) + _bins(row, peers)
                named.append((f"{SHORT[name]}: {row['system']}", scores))
    return named


def _scores(net, peers):
    return [
        (name, dig(net, path), max(dig(peer, path) for peer in peers))
        for name, path in COLUMNS.items()
        if dig(net, path) is not None
    ]


def _bins(net, peers, path="completeness by snr"):
    shares = [_share(row[path]) for row in (net, *peers)]
    return [
        (f"recall at S/N {name}", values[0], max(values[1:]))
        for name, values in zip(bin_names(net, path), zip(*shares, strict=True), strict=True)
        if None not in values and net[path]["n"][bin_names(net, path).index(name)] >= LEAST
    ]


def _share(bins):
    return [hit / n if n else None for hit, n in zip(bins["n_hit"], bins["n"], strict=True)]


def _setting(setting, rows, net):
    first = next(iter(rows.values()))
    columns = {**COLUMNS, **(CLASS_COLUMNS if setting.classes else {})}
    text = [
        setting.title,
        "-" * len(setting.title),
        "",
        f"{setting.text} {net}",
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
    told = [f"Fits: {_fits(rows)}.", ""]
    told += [f"Command: ``{first['command']}``.", ""] if "command" in first else []
    return [*text, *told, *_picture(first)]


def _at(row, path):
    value = dig(row, path)
    return "–" if value is None else number(value)


def _shares(bins):
    return ["–" if share is None else number(share, 2) for share in _share(bins)]


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

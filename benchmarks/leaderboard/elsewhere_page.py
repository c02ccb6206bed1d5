"""The page on images of other simulators, from results of `bench_elsewhere`."""

from functools import partial

from .elsewhere import BTK, GALSIM
from .store import dig, number
from .tables import bin_names, rst_table

SETTINGS = {item.name: item for item in (GALSIM, BTK)}
SHORT = {"galsim": "GalSim's field", "btk": "BlendingToolKit's blends"}
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
WHERE = "/_static/elsewhere"
LEAST = 10  # sources of a bin that is compared
BINS = {
    "separation": (
        "Galaxies and stars found, against the distance in pixels to the next one; their number "
        "in brackets:"
    ),
    "completeness by snr": "Found, against S/N in r:",
}
INTRODUCTION = """\
Nets on images that they were not trained for, beside programs of others. The nets that ship with
the package are scored as they are: nothing is chosen on these images. So is a Mask R-CNN of this
leaderboard, and again after two to four minutes of one core's fine-tuning on one part of the
images, the other part scored. The programs of others have their parameters chosen on the part that
is not scored. All rows see the same pixels; nets of one band see the mean of the bands, as the
programs of others do. Average precision counts stars and galaxies alike.
"""
#: How our rows came to be, in the order of `kind_of`.
KINDS = {
    "shipped": "shipped nets as they are",
    "trained": "Mask R-CNN as it was",
    "tuned": "Mask R-CNN, fine-tuned",
}
FORMER = "trained", "tuned"  # kinds whose work a shipped net does today


def lines(tables, untrained=()):
    """Lines of the page; `untrained` names the nets that no command of the page trains."""
    text = [INTRODUCTION]
    for name, rows in tables.items():
        nets = list(dict.fromkeys(row["net"] for row in rows if row.get("net")))
        told = [
            f"The Mask R-CNN of two rows was trained in setting {net[0]}"
            + (UNTRAINED if net in untrained else ".")
            for net in nets
        ]
        text += _setting(
            SETTINGS[name], {row["system"]: row for row in _sorted(rows)}, " ".join(told)
        )
    return text


def _sorted(rows):
    """Ours in the order of `KINDS`, then the programs of others."""
    places = [*KINDS, None]
    return sorted(rows, key=lambda row: places.index(kind_of(row["system"])))


def lost_bins(rows, path):
    """Bins in which every net of ours is behind the best tuned program, among those with ten
    sources.

    Returns
    -------
    lost : list of (bin, net, its share, peer, its share, sources in the bin)
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
            n = first[path]["n"][index]
            lost.append((name, net, nets[net], peer, peers[peer], n))
    return lost, n_bins


def kind_of(system):
    """Key of `KINDS`, or None for a program of others."""
    if "Segmenter" in system:
        return "shipped"
    if system.startswith("Mask R-CNN"):
        return "tuned" if "fine-tuned" in system else "trained"
    return None


def _is_net(system):
    return kind_of(system) is not None


def _losses(rows):
    """Say for each of `KINDS` which bins its best net loses to the best tuned program.

    The kind that loses most comes first.
    """
    told = []
    for kind, what in KINDS.items():
        met = {name: row for name, row in rows.items() if kind_of(name) in (kind, None)}
        if any(map(_is_net, met)) and not all(map(_is_net, met)):
            cases, n_bins = _lost(met)
            text = f"**behind** in {len(cases)} of {n_bins} bins: {'; '.join(cases)}"
            text = text if cases else f"behind in none of {n_bins} bins"
            told.append((-len(cases), f"- {what[0].upper()}{what[1:]}: {text}."))
    return [*(line for _, line in sorted(told)), ""] if told else []


def _lost(rows):
    """Texts of the lost bins, and the number of all bins.

    The best of our rows meets the best of the peers in each bin.
    """
    told, n_all = [], 0
    for path, what in (("completeness by snr", "S/N"), ("separation", "a distance in pixels of")):
        lost, n_bins = lost_bins(rows, path)
        n_all += n_bins
        told += [
            f"{what} {name}: {number(share, 2)} against {number(best, 2)} of {peer} ({n} sources)"
            for name, _, share, peer, best, n in lost
        ]
    return told, n_all


def comparisons(tables):
    """Our best beside the best tuned program in every score and every bin of S/N.

    List of a title, its scores (name, ours, theirs) and whether the net is a former one, for each
    of `KINDS`.
    """
    named = []
    for name, rows in tables.items():
        for kind, what in KINDS.items():
            met = [row for row in rows if kind_of(row["system"]) in (kind, None)]
            counts = _counts(met)
            scores = [
                (score + counts.get(score, ""), ours[0], theirs[0])
                for score, ours, theirs in leaders(met)
            ]
            if scores:
                named.append((f"{SHORT[name]}: {what}", scores, kind in FORMER))
    return named


def _counts(rows):
    """How many sources each bin of S/N has, as a text behind the name of its recall."""
    path = "completeness by snr"
    counts = zip(bin_names(rows[0], path), rows[0][path]["n"], strict=True) if rows else ()
    return {f"recall at S/N {name}": f", {n} sources" for name, n in counts}


def leaders(rows):
    """The best of our nets and of the tuned programs in every score and every bin of S/N.

    List of (name of the score, (value, system), (value, system)); empty if a side has no row.
    """
    sides = [[row for row in rows if _is_net(row["system"]) is net] for net in (True, False)]
    if not all(sides):
        return []
    values = [(name, partial(dig, path=path)) for name, path in COLUMNS.items()]
    path, first = "completeness by snr", rows[0]
    values += [
        (f"recall at S/N {name}", partial(_share_of, path=path, index=index))
        for index, name in enumerate(bin_names(first, path))
        if first[path]["n"][index] >= LEAST
    ]
    return [
        (name, *(max((value(row), row["system"]) for row in side) for side in sides))
        for name, value in values
        if value(first) is not None
    ]


def _share_of(row, path, index):
    return _share(row[path])[index]


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
    commands = dict.fromkeys(row["command"] for row in rows.values() if "command" in row)
    told += ["Commands: " + ", ".join(f"``{command}``" for command in commands) + ".", ""]
    return [*text, *told, *_pictures(rows)]


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


def _pictures(rows):
    names = dict.fromkeys(row["picture"] for row in rows.values() if "picture" in row)
    caption = "Outlines of every mask, overlapping ones too: the truth, and what each system finds."
    return [
        line for name in names for line in (f".. figure:: {WHERE}/{name}", "", f"   {caption}", "")
    ]

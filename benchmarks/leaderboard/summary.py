"""The first screen: every contest in one row, the largest deficit first."""

from dataclasses import dataclass

from . import elsewhere_page, equal_page
from .reported import REPORTED
from .settings import SETTINGS
from .store import number
from .systems import SYSTEMS, VARIANTS
from .tables import rst_table
from .verdicts import KINDS, cells_behind, duels

HEADER = ("contest", "behind in", "source F1: ours to theirs", "largest deficit: ours to theirs")
F1 = "source F1", "F1"  # names of this score on the pages
CLOSE = 0.002  # below this, a deficit is called small
TEXT = """\
Our segmenters and the programs of others work on the same simulated images. Only the published
numbers were measured on other images. A score counts as behind however small the gap.

"""
FORMER = """\
**Former nets.** Here a Mask R-CNN of an earlier edition, trained in setting B or C, meets other
simulators: as it was, and after a short fine-tuning. Today the shipped net "blends" does this work.
It was trained on more images, so these rows stay and count as well.

"""


@dataclass(frozen=True)
class Contest:
    """Scores of ours and of a rival: list of (name of the score, ours, theirs).

    `former`: a net of ours that is no longer the one to use.
    """

    title: str
    scores: list
    former: bool = False

    @property
    def lost(self):
        return [score for score in self.scores if lead(score) < 0]

    @property
    def worst(self):
        return min(self.scores, key=lead)


def lead(score):
    """How far ours is ahead in a score of a `Contest`."""
    _, ours, theirs = score
    return ours - theirs


def contests(store):
    """All contests of the tables: those of today, then former nets, each largest deficit first."""
    named = [("Published numbers, on other images", _published(store))]
    for name, setting in SETTINGS.items():
        for kind, what in KINDS.items():
            pairs = [duel for duel in duels(store) if (duel.setting, duel.kind) == (name, kind)]
            scores = [(duel.score, duel.ours, duel.theirs) for duel in pairs]
            named.append((f"{setting.called}: {what}", scores))
    named += equal_page.comparisons(store.equal)
    items = [Contest(title, scores) for title, scores in named if scores]
    items += [Contest(*item) for item in elsewhere_page.comparisons(store.elsewhere)]
    return sorted(items, key=lambda contest: (contest.former, lead(contest.worst)))


def _published(store):
    scores = []
    for cell in REPORTED:
        group = store.get(cell.setting, cell.system, cell.variant)
        value = None if group is None else group.mean(cell.path)
        if value is not None:
            label, variant = SYSTEMS[cell.system].label, VARIANTS[cell.variant]
            what = ", ".join([cell.name, label.split(",")[0], variant.split(":")[0]])
            scores.append((what, value, cell.value))
    return scores


def lines(store, picture=()):
    """What is lost, and the tables with a picture between them; empty if nothing is compared."""
    items = contests(store)
    if not items:
        return []
    now, former = ([item for item in items if item.former is side] for side in (False, True))
    told = _told(now, former, cells_behind(store)[-1])
    text = [told, "", TEXT, *_table(now), *picture]
    return text + ([FORMER, *_table(former)] if former else [])


def _told(now, former, n_missing):
    """The sentences that the page begins with."""
    items = [*now, *former]
    told = f"**Behind** in {_share(items)} scores"
    if former:
        told += f": {_share(now)} in the first table, {_share(former)} in that of former nets"
    close = [score for item in items for score in item.lost if lead(score) > -CLOSE]
    told += f". {len(close)} of these deficits are below {number(CLOSE)}." if close else "."
    return told + (f" {n_missing} published numbers were not run." if n_missing else "")


def _share(items):
    return f"{sum(len(item.lost) for item in items)} of {sum(len(item.scores) for item in items)}"


def _table(items):
    rows = []
    for item in items:
        f1 = [score for score in item.scores if score[0] in F1]
        rows.append(
            [
                item.title,
                f"{len(item.lost)} of {len(item.scores)}",
                _beside(f1[0]) if f1 else "–",
                f"{_beside(item.worst)}: {item.worst[0]}" if item.lost else "none",
            ]
        )
    return rst_table(HEADER, rows)


def _beside(score):
    _, ours, theirs = score
    return f"{number(ours)} to {number(theirs)}"

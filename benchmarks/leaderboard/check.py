"""Whether today's code still gives the stored numbers of our rows that need no training.

    python -m benchmarks.leaderboard check --setting B --seed 0

segments the test images again with the stored parameters, and names the rows that differ.
"""

from .run import key
from .scores import count_sources, detection, pixel_scores, select
from .settings import SETTINGS
from .store import dig, number
from .systems import SYSTEMS, build, predict, set_last

LARGEST = 5e-4  # a larger difference is more than rounding


def is_repeatable(run):
    """Whether prediction alone repeats a run: one of ours that learns nothing."""
    system = SYSTEMS[run["system"]]
    if system.peer or system.net or "sources" not in run:
        return False
    estimator = build(system, SETTINGS[run["setting"]], run["variant"], run["seed"])
    return not (system.fit and estimator[-1].__sklearn_tags__().requires_fit)


def repeat(run):
    """Pixel IoU and source F1 of a run by today's code: dict of path to value."""
    setting, system = SETTINGS[run["setting"]], SYSTEMS[run["system"]]
    estimator = build(system, setting, run["variant"], run["seed"])
    set_last(estimator, run.get("chosen", {}))
    test = setting.test(run["seed"], run["scale"])
    predicted = predict(estimator, test.X)
    counted, seen = count_sources(test.truth, predicted, setting.n_pixels)
    return {
        "pixels.mean.iou": pixel_scores(test, predicted, setting.n_pixels)["mean"]["iou"],
        "sources.f1": detection(select(test, counted)[0], seen)["f1"],
    }


def report(run):
    """Repeat a run; return whether its numbers are the stored ones, and a line that tells them."""
    pairs = [(path, dig(run, path), value) for path, value in repeat(run).items()]
    same = all(abs(stored - value) <= LARGEST for _, stored, value in pairs)
    told = "; ".join(
        f"{path} {number(stored, 4)} stored, {number(value, 4)} now"
        for path, stored, value in pairs
    )
    return same, f"{'repeats' if same else 'DIFFERS'}  {key(run):32s} {told}"

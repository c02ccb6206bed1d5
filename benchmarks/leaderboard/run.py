"""One run: fit, predict, score, and store the numbers as a row of the setting's table."""

import dataclasses
import json
import math
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

from galaxysegment import NoSourcesWarning
from galaxysegment.persistence import load, save
from galaxysegment.structures import relabel, remove_small

from . import calibration, isophotes, robustness
from .clock import by_the_clock
from .measure import Stopwatch, machine, versions
from .peers import NotInstalledError
from .recipes import plan
from .scores import evaluate, pixel_scores, quality
from .settings import SETTINGS
from .systems import (
    AFTER_PROBABILITIES,
    SYSTEMS,
    build,
    choices,
    predict,
    predict_many,
    recipe_of,
    set_last,
    version_of_weights,
)
from .table_file import add_run

RESULTS = Path(__file__).parent / "results"
FIRST = 4  # patches whose score is kept apart, for a quick check that it repeats
JOINT = ("n_sigma", "fwhm", "filter_type")  # parameters that are chosen together
SMALLER = {"full": 1, "small": 4, "tiny": 16}


def run(job, results=RESULTS, keep=None, reuse=False):
    """Do one job and write its result.

    Parameters
    ----------
    job : dict
        ``setting``, ``system``, ``variant``, ``seed``, ``budget`` (minutes), ``scale`` and
        ``speed``.
    results : path
        Folder of the tables.
    keep : path, optional
        Folder where trained nets are kept.
    reuse : bool, default=False
        Whether to take the net from there instead of training.

    Returns
    -------
    path of the table
    """
    setting, system = SETTINGS[job["setting"]], SYSTEMS[job["system"]]
    result = {**job, "label": system.label, "command": command(job)}
    try:
        result |= _fit_and_score(setting, system, job, keep, reuse)
    except NotInstalledError as error:
        result["not installed"] = str(error)
    result |= {"versions": versions(), "machine": machine(), "date": time.strftime("%Y-%m-%d")}
    path = table_path(results, job)
    add_run(path, plain(result), key)
    return path


def table_path(results, job):
    return Path(results) / f"{job['setting']}.csv"


def key(job):
    return "{setting}.{system}.{variant}.{seed}".format(**job)


def command(job):
    words = [f"--{name} {job[name]}" for name in ("setting", "system", "variant", "seed")]
    if SYSTEMS[job["system"]].net:
        words.append(f"--budget {job['budget']:g}")
        words += [f"--speed {job['speed']:g}"] if job["speed"] != 1 else []
        words += ["--clock"] if job.get("clock") else []
    words += ["--short"] if job.get("short") else []
    words += [f"--scale {job['scale']}"] if job["scale"] != "full" else []
    return " ".join(["python -m benchmarks.leaderboard run", *words])


def _fit_and_score(setting, system, job, keep, reuse):
    seed, scale, recipe = job["seed"], job["scale"], recipe_of(system, setting)
    n_train, params, planned = _plan(system, setting, job, recipe)
    estimator = build(system, setting, job["variant"], seed, **params)
    with warnings.catch_warnings(record=True) as caught, quiet_log():
        warnings.simplefilter("always")
        stored = Path(keep) / f"{key(job)}.safetensors" if keep and system.net else None
        trained = reuse and stored is not None and stored.is_file()
        grid = recipe.choose if recipe else system.grid_of(setting.name)
        train = None
        if grid or (system.fit and not trained):
            train = setting.train(
                min(n_train, system.n_choose) if trained else n_train, seed, scale
            )
        if trained:
            estimator, fitting = _load(stored)
        elif system.fit:
            targets = without_small(train.y, recipe.least_pixels) if recipe else train.y
            estimator, fitting = _fit(estimator, train.X, targets, stored)
        else:
            fitting = {}
        if fitting.get("trained elsewhere"):
            planned = {"net": "trained by another script"}
        with Stopwatch() as choosing:
            chosen = (
                choose(estimator, grid, train[: system.n_choose], setting.n_pixels) if grid else {}
            )
        test = setting.test(seed, scale)
        with Stopwatch() as predicting:
            predicted = predict(estimator, test.X)
        version = version_of_weights(system)
        result = {
            **({"weights": version} if version else {}),
            "plan": planned,
            "chosen": chosen,
            "fit": fitting | {"choosing_seconds": round(choosing.seconds, 3)},
            "predict": predicting.as_dict()
            | {"seconds_per_patch": round(predicting.seconds / len(test), 5)},
            **evaluate(test, predicted, setting, _candidates(estimator, system, test)),
            "first patches": {"n": FIRST, "iou": first_iou(test, predicted, setting)},
        }
        if setting.name == "A" and job["variant"] == system.variants["A"][-1]:
            result["isophotes"] = isophotes.isophote_scores(estimator, seed, scale)
            result |= {} if job.get("short") else _conditions(estimator, system, setting, job)
    return result | {"warnings": told(caught)}


def _conditions(estimator, system, setting, job):
    """Calibration, and what nothing was tuned on."""
    seed, scale = job["seed"], job["scale"]
    result = {
        "calibration": calibration.curve_of(estimator, setting.test(seed, scale)),
        "robustness": robustness.robustness(estimator, setting, seed, scale),
    }
    if system.sweep:
        result["unseen"] = robustness.unseen(estimator, system, setting, seed, scale)
    return result


def first_iou(test, predicted, setting):
    """Mean pixel IoU of the first patches."""
    return pixel_scores(test[:FIRST], predicted[:FIRST], setting.n_pixels)["mean"]["iou"]


def _candidates(estimator, system, test):
    """Sources below the cut in score as well; None where there is no such cut."""
    name, params = system.sweep or (None, None)
    if name != "scores":
        return None
    before = {item: estimator[-1].get_params()[item] for item in params}
    predicted = predict(set_last(estimator, params), test.X)
    set_last(estimator, before)
    return predicted


@contextmanager
def quiet_log():
    """Keep astropy's log, which repeats warnings, off the screen."""
    from astropy import log

    level = log.level
    log.setLevel("ERROR")
    try:
        yield
    finally:
        log.setLevel(level)


def told(caught):
    """Warnings worth knowing, each once.

    Not those that an image is empty, nor those of other packages' futures.
    """
    dull = NoSourcesWarning, DeprecationWarning, FutureWarning
    texts = [
        str(warning.message).splitlines()[0][:200]
        for warning in caught
        if not issubclass(warning.category, dull)
    ]
    return list(dict.fromkeys(texts))[:10]


def _plan(system, setting, job, recipe):
    if recipe is None:
        return max(system.n_train.get(setting.name, 1) // SMALLER[job["scale"]], 1), {}, {}
    fewer = dataclasses.replace(recipe, n_train=recipe.n_train // SMALLER[job["scale"]])
    n_train, epochs = plan(fewer, job["budget"], job["speed"])
    if job["scale"] == "tiny":
        n_train, epochs = min(n_train, 8), min(epochs, 2)
    params = recipe.arguments(epochs)
    if job.get("clock") and not system.peer:
        planned = {"n_train": recipe.n_train, "minutes": job["budget"], "params": _describe(params)}
        return recipe.n_train, by_the_clock(params, job["budget"]), planned
    return n_train, params, {"n_train": n_train, "epochs": epochs, "params": _describe(params)}


def _describe(params):
    return {name: repr(value) for name, value in params.items()}


def without_small(y, least):
    """Leave the sources with fewer pixels out of label maps or instances."""
    if least <= 1:
        return y
    if isinstance(y, np.ndarray):
        return np.stack([relabel(remove_small(target, least)) for target in y])
    return [target.select(target.areas >= least) for target in y]


def _load(stored):
    """A net trained before, and what its training took."""
    estimator, times = load(stored), stored.with_suffix(".json")
    if not isinstance(estimator, Pipeline):
        estimator = make_pipeline(estimator)
    return estimator, json.loads(times.read_text()) if times.is_file() else {
        "trained elsewhere": True
    }


def _fit(estimator, X, y, stored):
    with Stopwatch() as watch:
        estimator.fit(X, y)
    times = watch.as_dict()
    history = getattr(estimator[-1], "history_", None)
    if history is not None:
        times["epochs"] = len(history)
        estimator[-1].set_params(callbacks=None)
    if stored is not None and hasattr(estimator[-1], "_get_model_state"):
        stored.parent.mkdir(parents=True, exist_ok=True)
        save(estimator, stored)
        stored.with_suffix(".json").write_text(json.dumps(times))
    return estimator, times


def choose(estimator, grid, train, n_pixels=10):
    """Set the parameters with the best pooled IoU plus source F1 on training patches; return them.

    Threshold, kernel and kind of filter move together, because each needs its own values of the
    others; the remaining parameters move one after the other. The search begins at the present
    ones and ends when a round changes nothing. If the probabilities of the pixels are known anyway,
    all combinations are tried.
    """
    names = estimator[-1].get_params()
    grid = {name: values for name, values in grid.items() if name in names}
    if not grid:
        return {}
    if set(grid) <= AFTER_PROBABILITIES:
        return _best(estimator, choices(grid), train, n_pixels)
    chosen, before, known = {name: names[name] for name in grid}, None, {}
    while chosen != before:
        before = chosen
        for part in _moves(grid):
            settings = [{**chosen, **move} for move in choices(part)]
            chosen = _best(estimator, settings, train, n_pixels, known)
    return chosen


def _moves(grid):
    """Parts of a grid whose parameters move together."""
    joint = {name: grid[name] for name in JOINT if name in grid}
    rest = [{name: grid[name]} for name in grid if name not in joint]
    return [joint, *rest] if joint else rest


def _best(estimator, settings, train, n_pixels, known=None):
    """Set the parameters with the best score; `known` holds scores, and new ones are added."""
    known = {} if known is None else known
    new = [params for params in settings if _name(params) not in known]
    for params, predicted in zip(new, predict_many(estimator, train.X, new), strict=True):
        known[_name(params)] = quality(train, predicted, n_pixels)
    best = max(settings, key=lambda params: known[_name(params)])
    set_last(estimator, best)
    return best


def _name(params):
    return tuple(params.items())


def plain(value):
    """Turn `value` into plain Python: five digits, None instead of NaN or infinity."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value

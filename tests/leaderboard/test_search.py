"""How the leaderboard chooses the parameters of tuned rows."""


def test_tuned_programs_choose_from_a_common_grid():
    from benchmarks.leaderboard.grids import GRID
    from benchmarks.leaderboard.systems import SYSTEMS

    names = "photutils_tuned", "sep_tuned", "plain_photutils_common", "plain_sep_common"
    for name in (*names, "sextractor_common", "photutils_common", "sep_common"):
        grid = SYSTEMS[name].grid_of("C")
        assert {key: grid[key] for key in GRID} == GRID
    assert SYSTEMS["sep_common"].grid_of("C") == GRID  # nothing that the peers lack
    assert SYSTEMS["sep_tuned"].grid_of("A") == SYSTEMS["sep_tuned"].grid != grid


def test_parameters_are_tried_once_each(monkeypatch):
    from sklearn.pipeline import make_pipeline

    from benchmarks.leaderboard import run
    from galaxysegment import PhotutilsSegmenter

    tried = []
    monkeypatch.setattr(run, "predict_many", lambda *parts: parts[-1])

    def score(train, params, n_pixels):
        tried.append(params)
        return -abs(params["n_sigma"] - 2) - abs(params["fwhm"] - params["n_sigma"])

    monkeypatch.setattr(run, "quality", score)
    estimator = make_pipeline(PhotutilsSegmenter(n_sigma=1.5, fwhm=3.0))
    grid = {"n_sigma": (1.0, 2.0, 3.0), "fwhm": (2.0, 3.0), "unknown": (1, 2)}
    assert run.choose(estimator, grid, _Nothing()) == {"n_sigma": 2.0, "fwhm": 2.0}
    assert estimator[-1].n_sigma == estimator[-1].fwhm == 2.0
    assert len(tried) == len({tuple(params.items()) for params in tried}) == 6


def test_threshold_and_kernel_are_chosen_together(monkeypatch):
    from sklearn.pipeline import make_pipeline

    from benchmarks.leaderboard import run
    from galaxysegment import PhotutilsSegmenter

    # as measured on four patches of setting C: neither parameter alone leads away from (1.0, 2.0)
    measured = {(1.0, 1.5): 1.7172, (1.0, 2.0): 1.7285, (1.15, 1.5): 1.7459, (1.15, 2.0): 1.7249}

    def score(train, params, n_pixels):
        return measured[params["n_sigma"], params["fwhm"]]

    monkeypatch.setattr(run, "predict_many", lambda *parts: parts[-1])
    monkeypatch.setattr(run, "quality", score)
    estimator = make_pipeline(PhotutilsSegmenter(n_sigma=1.0, fwhm=2.0))
    grid = {"n_sigma": (1.0, 1.15), "fwhm": (1.5, 2.0)}
    assert run.choose(estimator, grid, _Nothing()) == {"n_sigma": 1.15, "fwhm": 1.5}


def test_the_search_goes_on_until_nothing_changes(monkeypatch):
    from sklearn.pipeline import make_pipeline

    from benchmarks.leaderboard import run
    from galaxysegment import PhotutilsSegmenter

    def score(train, params, n_pixels):
        return 3 * params["n_pixels"] - 2 * (params["n_pixels"] - params["n_levels"]) ** 2

    monkeypatch.setattr(run, "predict_many", lambda *parts: parts[-1])
    monkeypatch.setattr(run, "quality", score)
    estimator = make_pipeline(PhotutilsSegmenter(n_pixels=1, n_levels=1))
    values = (1, 2, 3, 4, 5, 6)  # a round goes one step
    chosen = run.choose(estimator, {"n_pixels": values, "n_levels": values}, _Nothing())
    assert chosen == {"n_pixels": 6, "n_levels": 6}


class _Nothing:
    X = ()


def test_rivals_choose_on_as_many_patches():
    from benchmarks.leaderboard.systems import SYSTEMS

    tuned = [name for name in SYSTEMS if name.endswith(("_tuned", "_common"))]
    for setting, n_patches in {"A": 16, "B": 60, "C": 16, "C8": 8}.items():
        known = {SYSTEMS[name].n_train.get(setting) for name in tuned if "noise" not in name}
        assert known - {None} == {n_patches}
    assert min(SYSTEMS[name].n_choose for name in tuned) >= 60


def test_every_search_begins_with_as_many_pixels():
    from benchmarks.leaderboard.settings import SETTINGS
    from benchmarks.leaderboard.systems import SYSTEMS, build

    for name, system in SYSTEMS.items():
        if "n_pixels" in system.grid_of("C") and not system.weights:
            assert build(system, SETTINGS["C"], "raw", 0)[-1].n_pixels == 10, name


def test_choosing_sees_the_sources_of_a_prediction_without_their_scores(monkeypatch):
    import numpy as np
    from sklearn.pipeline import make_pipeline

    from benchmarks.leaderboard.systems import predict, predict_many, set_last
    from galaxysegment import PhotutilsSegmenter
    from galaxysegment.datasets import make_field

    X = make_field((128, 128), random_state=0).image[np.newaxis]
    estimator = make_pipeline(PhotutilsSegmenter())
    settings = [{"n_sigma": 1.0}, {"n_sigma": 2.0}]
    scored = [predict(set_last(estimator, params), X) for params in settings]
    monkeypatch.setattr(PhotutilsSegmenter, "_score_maps", None)
    unscored = list(predict_many(estimator, X, settings))
    assert [len(sources[0]) for sources in unscored] == [len(sources[0]) for sources in scored]
    for (first,), (second,) in zip(scored, unscored, strict=True):
        assert np.array_equal(first.masks, second.masks)
    assert scored[0][0].areas.sum() > scored[1][0].areas.sum() > 0

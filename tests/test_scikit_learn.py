"""Every row of the page "What works with scikit-learn and skorch" is tried."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn import model_selection as ms
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler

import galaxysegment
from galaxysegment import KMeansSegmenter, PhotutilsSegmenter, UNetSegmenter
from galaxysegment.metrics import get_scorer, iou_scorer
from galaxysegment.preprocessing import BackgroundSubtractor, GaussianSmoother
from galaxysegment.testing import make_images

PAGE = Path(galaxysegment.__file__).parents[1] / "docs" / "guide" / "scikit_learn.rst"
pytestmark = pytest.mark.filterwarnings(
    "ignore::galaxysegment.structures.NoSourcesWarning", "ignore:Scoring failed:UserWarning"
)
X, Y = make_images(8, n_bands=1)
IMAGES = list(X)  # a list of images of one size
SEGMENTER = PhotutilsSegmenter(box_size=16)
TINY = {"base_width": 2, "depth": 2, "max_epochs": 2, "random_state": 0}


def rows(heading):
    """Return the rows of the table under a column heading: what, and whether it works."""
    table = PAGE.read_text(encoding="utf-8").split(f"   * - {heading}\n", 1)[1].split("\n\n", 1)[0]
    cells = re.findall(r"^   \* - (.+?)\n     - (.+?)\n     -", table, re.MULTILINE | re.DOTALL)
    return {re.sub(r"\s+", " ", what): works for what, works in cells if works != "works"}


def pipeline(**options):
    return Pipeline([("smooth", GaussianSmoother()), ("segment", SEGMENTER)], **options)


def is_refused(call, *errors, match=None):
    with pytest.raises(errors or (ValueError, TypeError), match=match):
        call()


# ---- scikit-learn ----


def parameters(_):
    copy = pickle.loads(pickle.dumps(clone(SEGMENTER).set_params(n_sigma=2)))
    assert copy.get_params()["n_sigma"] == 2 and copy.predict(X).max() == 3


def pipelines(folder):
    expected = pipeline().fit(X).predict(X, output="instances")
    assert len(expected) == len(X)
    cached = pipeline(memory=str(folder)).fit(X).predict(X)
    np.testing.assert_array_equal(cached, pipeline().fit(X).predict(X))
    assert pipeline().set_params(smooth="passthrough").fit(X).predict(X).max() == 3


def searches(_):
    grid = {"n_sigma": [1, 2], "n_pixels": [4, 5]}
    assert ms.GridSearchCV(SEGMENTER, grid, cv=2).fit(X, Y).best_score_ > 0.5
    random = ms.RandomizedSearchCV(SEGMENTER, grid, n_iter=2, cv=2, random_state=0)
    assert random.fit(IMAGES, Y).best_score_ > 0.5


def halving(_):
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401

    search = ms.HalvingGridSearchCV(
        KMeansSegmenter(random_state=0),
        {"n_clusters": [2, 3]},
        resource="n_init",
        max_resources=4,
        min_resources=2,
        factor=2,
        cv=2,
        random_state=0,
    )
    assert search.fit(X, Y).n_resources_ == [2, 4]


def scores(_):
    for images in (X, IMAGES):
        assert ms.cross_val_score(SEGMENTER, images, Y, cv=2).min() > 0.5
        assert ms.cross_validate(SEGMENTER, images, Y, cv=2)["test_score"].min() > 0.5
    grid = {"param_name": "n_sigma", "param_range": [1, 2], "cv": 2}
    assert np.isfinite(ms.validation_curve(SEGMENTER, X, Y, **grid)).all()
    assert np.isfinite(ms.learning_curve(SEGMENTER, X, Y, cv=2, train_sizes=[0.5, 1.0])[1]).all()
    score, shuffled, _ = ms.permutation_test_score(
        SEGMENTER, X, Y, cv=2, n_permutations=2, random_state=0
    )
    assert score >= shuffled.max()


def predictions(_):
    assert ms.cross_val_predict(SEGMENTER, X, Y, cv=2).shape == Y.shape
    assert ms.cross_val_predict(SEGMENTER, IMAGES, Y, cv=2).shape == Y.shape


def splits(_):
    train, test, *_ = ms.train_test_split(X, Y, random_state=0)
    assert len(train) + len(test) == len(X)
    assert len(list(ms.KFold(2).split(X, Y))) == 2
    groups = np.repeat([0, 1], 4)
    assert len(ms.cross_val_score(SEGMENTER, X, Y, cv=ms.GroupKFold(2), groups=groups)) == 2


def strata(_):
    is_refused(lambda: list(ms.StratifiedKFold(2).split(X, Y)))
    is_refused(lambda: ms.train_test_split(X, Y, stratify=Y))
    crowded = np.repeat([0, 1], 4)
    train, *_ = ms.train_test_split(X, Y, stratify=crowded, random_state=0)
    assert len(train) == 6


def name_of_a_score(_):
    is_refused(lambda: ms.cross_val_score(SEGMENTER, X, Y, scoring="iou"), match="iou")
    assert ms.cross_val_score(SEGMENTER, X, Y, scoring=iou_scorer, cv=2).min() > 0.5
    assert ms.cross_val_score(SEGMENTER, X, Y, scoring=get_scorer("iou"), cv=2).min() > 0.5


def tables(_):
    from sklearn import config_context

    is_refused(lambda: GaussianSmoother().set_output(transform="pandas"))
    with config_context(transform_output="pandas"):
        assert GaussianSmoother().fit_transform(X).shape == X.shape


def routing(_):
    from sklearn import config_context

    with config_context(enable_metadata_routing=True):
        asks = Pipeline([("segment", clone(SEGMENTER).set_predict_request(output=True))])
        assert len(asks.fit(X).predict(X, output="instances")) == len(X)
        for scoring in (None, iou_scorer):
            assert np.isfinite(ms.cross_val_score(asks, X, Y, cv=2, scoring=scoring)).all()


def importance(_):
    is_refused(lambda: permutation_importance(SEGMENTER.fit(X), X, Y, n_repeats=1))


def union(_):
    steps = FeatureUnion(
        [("smooth", GaussianSmoother()), ("subtract", BackgroundSubtractor(box_size=16))]
    )
    assert np.shape(steps.fit_transform(IMAGES)) == (8, 2, 48, 40)
    is_refused(lambda: steps.fit_transform(X))


def transformers_of_tables(_):
    is_refused(lambda: StandardScaler().fit(X))
    is_refused(lambda: ColumnTransformer([("smooth", GaussianSmoother(), [0])]).fit_transform(X))


def ensembles(_):
    is_refused(lambda: BaggingClassifier(SEGMENTER, n_estimators=2).fit(X, Y))
    is_refused(lambda: VotingClassifier([("segment", SEGMENTER)]).fit(X, Y))
    from sklearn.calibration import CalibratedClassifierCV

    is_refused(lambda: CalibratedClassifierCV(SEGMENTER, cv=2).fit(X, Y))
    tuned = ms.TunedThresholdClassifierCV(SEGMENTER, cv=2)
    is_refused(lambda: tuned.fit(X, Y), ValueError, TypeError, AttributeError)


def frozen(_):
    assert FrozenEstimator(clone(SEGMENTER).fit(X)).fit(X, Y).predict(X).max() == 3
    assert "PhotutilsSegmenter" in SEGMENTER._repr_html_()


def names_of_features(_):
    fitted = clone(SEGMENTER).fit(X)
    assert fitted.n_bands_in_ == 1
    assert not hasattr(fitted, "n_features_in_")
    assert not hasattr(GaussianSmoother().fit(X), "get_feature_names_out")


SCIKIT_LEARN = {
    "``clone``, ``get_params``, ``set_params``, pickle": ("yes", parameters),
    '``Pipeline``, also with ``memory=`` and ``"passthrough"``': ("yes", pipelines),
    "``GridSearchCV``, ``RandomizedSearchCV``": ("yes", searches),
    "``HalvingGridSearchCV``": ("yes", halving),
    "``cross_val_score``, ``cross_validate``, ``learning_curve``, ``validation_curve``, "
    "``permutation_test_score``": ("yes", scores),
    "``cross_val_predict``": ("yes", predictions),
    "``train_test_split``, ``KFold``, ``GroupKFold``": ("yes", splits),
    "``StratifiedKFold``, ``train_test_split(stratify=)``": ("with your own strata", strata),
    '``scoring="iou"``': ("no", name_of_a_score),
    '``set_output(transform="pandas")``': ("no", tables),
    "metadata routing": ("yes", routing),
    "``permutation_importance``": ("no", importance),
    "``FeatureUnion``": ("for lists", union),
    "``ColumnTransformer``, ``StandardScaler`` and other transformers of tables": (
        "no",
        transformers_of_tables,
    ),
    "``BaggingClassifier``, ``VotingClassifier``, ``CalibratedClassifierCV``, "
    "``TunedThresholdClassifierCV``": ("no", ensembles),
    "``FrozenEstimator``, HTML display": ("yes", frozen),
    "``n_features_in_``, ``get_feature_names_out``": ("no", names_of_features),
}

# ---- skorch ----


def unet(**options):
    return UNetSegmenter(**TINY | options)


def history(_):
    net = unet().fit(X, Y)
    assert len(net.history_) == 2
    assert np.isfinite(net.history_[:, "valid_loss"]).all()


def more_epochs(_):
    net = unet(warm_start=True).fit(X, Y)
    assert len(net.fit(X, Y).history_) == 4
    assert len(net.partial_fit(X, Y).history_) == 6


def callbacks(folder):
    from skorch import callbacks as cb

    given = [
        cb.EpochScoring(lambda *_: 0.25, name="own", use_caching=False),
        cb.Checkpoint(dirname=str(folder)),
        cb.EarlyStopping(patience=5),
        cb.GradientNormClipping(1.0),
        cb.Freezer("nothing*"),
        cb.LRScheduler(policy="StepLR", step_size=1),
        cb.ProgressBar(),
    ]
    net = unet(callbacks=given, schedule=None).fit(X, Y)
    assert net.history_[-1, "own"] == 0.25
    assert (folder / "params.pt").is_file()
    assert not hasattr(given[0], "best_score_"), "each fit has copies"


def parameters_of_parts(_):
    from torch import optim

    grid = {"optimizer__weight_decay": [0.0, 1e-3]}
    search = ms.GridSearchCV(unet(net_params={"optimizer__weight_decay": 0.0}), grid, cv=2)
    best = search.fit(X[:4], Y[:4]).best_estimator_
    assert best.net_params["optimizer__weight_decay"] in {0.0, 1e-3}
    net = unet().set_params(iterator_train__drop_last=False, optimizer__weight_decay=1e-3)
    assert net.net_params == {"iterator_train__drop_last": False, "optimizer__weight_decay": 1e-3}
    assert isinstance(net.fit(X, Y).net_.optimizer_, optim.Optimizer)
    assert net.net_.optimizer_.param_groups[0]["weight_decay"] == 1e-3


def optimizers(_):
    from torch.optim import RMSprop

    assert isinstance(unet(net_params={"optimizer": RMSprop}).fit(X, Y).net_.optimizer_, RMSprop)


def validation(_):
    from skorch.dataset import ValidSplit
    from skorch.helper import predefined_split

    for split in (None, ValidSplit(4)):
        net = unet(net_params={"train_split": split}).fit(X, Y)
        assert ("valid_loss" in net.history_[-1]) == (split is not None)
    is_refused(lambda: unet(net_params={"train_split": predefined_split(X)}).fit(X, Y))


def criteria(_):
    from torch.nn import BCEWithLogitsLoss

    is_refused(lambda: unet(criterion=BCEWithLogitsLoss).fit(X, Y), ValueError, TypeError)


def weights(folder):
    net = unet().fit(X, Y)
    expected = net.predict_proba(X)
    net.net_.save_params(f_params=folder / "weights.pt")
    net.partial_fit(X, Y)
    assert not np.array_equal(net.predict_proba(X), expected)
    net.net_.load_params(f_params=folder / "weights.pt")
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-5)


def predictions_of_the_net(_):
    net = unet().fit(X, Y).net_
    is_refused(lambda: net.predict(X), Exception)
    is_refused(lambda: net.forward(X), Exception)


def data_sets(_):
    import torch

    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    is_refused(lambda: unet().fit(data, Y))
    assert unet().fit(torch.from_numpy(X), Y).predict(torch.from_numpy(X)).shape == Y.shape


SKORCH = {
    '``history_``, ``history_[:, "valid_loss"]``': ("yes", history),
    "``partial_fit``, ``warm_start``": ("yes", more_epochs),
    "``callbacks=[…]``: ``EpochScoring``, ``Checkpoint``, ``EarlyStopping``, ``ProgressBar``, "
    "``GradientNormClipping``, ``Freezer``, ``LRScheduler``": ("yes", callbacks),
    "``set_params(optimizer__weight_decay=…)``, ``module__…``, ``criterion__…``, "
    "``iterator_train__…``": ("yes", parameters_of_parts),
    "``optimizer=torch.optim.RMSprop``": ("yes", optimizers),
    "``train_split=None`` or ``ValidSplit(5)`` in ``net_params``": ("yes", validation),
    "``criterion=torch.nn.BCEWithLogitsLoss``": ("no", criteria),
    "``net_.save_params``, ``net_.load_params``": ("yes", weights),
    "``net_.predict(X)``, ``net_.forward(X)``": ("no", predictions_of_the_net),
    "a torch ``Dataset`` as ``X``": ("no", data_sets),
}


@pytest.mark.skipif(not PAGE.is_file(), reason="the guide is in the source tree only")
@pytest.mark.parametrize("heading, tried", [("scikit-learn", SCIKIT_LEARN), ("skorch", SKORCH)])
def test_every_row_of_the_page_is_tried(heading, tried):
    assert rows(heading) == {what: works for what, (works, _) in tried.items()}


@pytest.mark.parametrize("check", [check for _, check in SCIKIT_LEARN.values()])
def test_scikit_learn(check, tmp_path):
    check(tmp_path)


@pytest.mark.parametrize("check", [check for _, check in SKORCH.values()])
def test_skorch(check, tmp_path):
    check(tmp_path)

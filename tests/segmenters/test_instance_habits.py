"""What users of scikit-learn and skorch expect of the deep segmenters that find instances."""

import threading

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from skorch.callbacks import Callback, TensorBoard

from galaxysegment import DETRSegmenter, Instances, MaskRCNNSegmenter
from galaxysegment.preprocessing import ImageNormalizer
from galaxysegment.testing import make_images

pytestmark = pytest.mark.filterwarnings("ignore::galaxysegment.structures.NoSourcesWarning")

X, Y = make_images(6)
COMMON = {
    "max_epochs": 1,
    "batch_size": 6,
    "validation_fraction": 0,
    "augment": None,
    "random_state": 0,
    "score_threshold": 0.1,
}
MASK_RCNN = {
    "backbone": "resnet10",
    "stem_stride": 2,
    "channels": 8,
    "n_proposals": 20,
    "n_samples": 8,
    "mask_threshold": 0.5,
}
DETR = {
    "base_width": 2,
    "depth": 2,
    "d_model": 32,
    "decoder_layers": 1,
    "n_queries": 8,
    "n_points": 64,
}


def mask_rcnn(**changes):
    return MaskRCNNSegmenter(**(COMMON | MASK_RCNN | changes))


def detr(**changes):
    return DETRSegmenter(**(COMMON | DETR | changes))


def old_detr(**changes):
    return detr(architecture="detr", **changes)


every_net = pytest.mark.parametrize("make", [mask_rcnn, detr, old_detr])
either = pytest.mark.parametrize("make", [mask_rcnn, detr])


def losses(segmenter):
    return [row["train_loss"] for row in segmenter.history_]


# ---- weights of images ----


@every_net
def test_equal_weights_change_nothing(make):
    plain = losses(make().fit(X, Y))
    assert losses(make().fit(X, Y, sample_weight=np.full(6, 2.5))) == pytest.approx(plain)


@every_net
def test_an_image_of_weight_zero_teaches_nothing(make):
    wrong = Y.copy()
    wrong[-1] = 0
    weighted = make().fit(X, wrong, sample_weight=[1, 1, 1, 1, 1, 0])
    assert losses(weighted) == losses(make().fit(X[:5], Y[:5]))


@every_net
def test_the_loss_is_the_weighted_mean_of_the_images(make):
    import torch

    weights = np.array([1.0, 3.0])
    segmenter = make().fit(X[:2], Y[:2])
    net = segmenter.net_

    def reseed(module, inputs):  # because boxes are sampled
        torch.manual_seed(0)

    net.module_.register_forward_pre_hook(reseed)
    net.module_.loss_mode()
    data = segmenter._training_set(X[:2], Y[:2], None, weights, None)
    data.images = [segmenter._scaler().stream(image) for image in data.images]
    dataset = segmenter._make_dataset(data, training=False)
    batch, _ = segmenter._collate()([dataset[0], dataset[1]])
    assert batch.weights == (0.5, 1.5)
    with torch.no_grad():
        first, second, both = map(net.infer, (batch.part(0), batch.part(1), batch))
    assert set(both) == set(net.module_.loss_names)
    for name, loss in both.items():
        expected = (first[name] + 3 * second[name]) / 4
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)


@either
def test_bad_weights_are_refused(make):
    for bad in ([1, 2], [0] * 6, [-1] * 6, [np.nan] * 6):
        with pytest.raises(ValueError, match="sample_weight must"):
            make().fit(X, Y, sample_weight=bad)


@either
def test_partial_fit_takes_weights(make):
    segmenter = make().fit(X[:5], Y[:5])
    other = clone(segmenter).fit(X[:5], Y[:5])
    segmenter.partial_fit(X, Y, sample_weight=[1, 1, 1, 1, 1, 0])
    assert losses(segmenter) == losses(other.partial_fit(X[:5], Y[:5]))


@either
def test_weights_and_masks_are_routed(make):
    mask = np.zeros(X.shape, dtype=bool)
    mask[:, :10] = True
    weights = np.array([1.0, 1, 1, 1, 1, 0])
    with sklearn.config_context(enable_metadata_routing=True):
        segmenter = make().set_fit_request(sample_weight=True, mask=True)
        segmenter.set_score_request(sample_weight=True)
        pipeline = Pipeline([("normalize", ImageNormalizer()), ("segment", segmenter)])
        pipeline.fit(X, Y, sample_weight=weights, mask=mask)
        assert losses(pipeline[-1]) != losses(clone(pipeline).fit(X, Y)[-1])
        search = GridSearchCV(pipeline, {"segment__n_pixels": [4]}, cv=2, error_score="raise")
        search.fit(X, Y, sample_weight=weights, mask=mask)
    assert np.isfinite(search.best_score_)


# ---- scikit-learn and skorch ----


@either
def test_there_are_no_probabilities_to_cross_validate(make):
    with pytest.raises(AttributeError, match="predict_proba"):
        cross_val_predict(make(), X, Y, cv=2, method="predict_proba")


@either
def test_set_output_of_the_default_container(make):
    pipeline = make_pipeline(ImageNormalizer(), make()).set_output(transform="default")
    assert pipeline.fit(X, Y).predict(X).shape == Y.shape


@either
def test_parameters_with_two_underscores(make):
    name = {mask_rcnn: "module__n_samples", detr: "module__n_queries"}[make]
    segmenter = make().set_params(**{"optimizer__weight_decay": 0.25, name: 6})
    net = clone(segmenter).fit(X, Y).net_
    assert net.optimizer_.param_groups[0]["weight_decay"] == 0.25
    assert net.get_params_for("module")[name.removeprefix("module__")] == 6


@either
@pytest.mark.parametrize("name", ["module", "criterion", "class_weight"])
def test_parts_of_the_u_net_are_refused(make, name):
    with pytest.raises(ValueError, match=rf"Invalid parameter '{name}'"):
        make().set_params(**{name: None})


class Locked(Callback):
    """A callback that cannot be copied."""

    def __init__(self):
        self.lock, self.n_epochs = threading.Lock(), 0

    def on_epoch_end(self, net, **kwargs):
        with self.lock:
            self.n_epochs += 1


class Writer:
    """A summary writer that cannot be copied, as torch's."""

    def __init__(self):
        self.lock, self.tags = threading.Lock(), []

    def add_scalar(self, tag, scalar_value, global_step):
        self.tags.append(tag)

    def close(self):
        pass


@either
def test_callbacks_that_cannot_be_copied(make):
    locked, writer = Locked(), Writer()
    make(callbacks=[locked, TensorBoard(writer)]).fit(X, Y)
    assert locked.n_epochs == 1 and "Loss/train_loss" in writer.tags


@either
def test_a_function_augments(make):
    seen = []

    def mirror(image, target, generator):
        seen.append(target)
        assert isinstance(generator, np.random.Generator) and image.dtype == np.float32
        if isinstance(target, Instances):
            return image, target
        return image[..., ::-1], target[..., ::-1]

    make(augment=mirror).fit(X, Y)
    assert len(seen) == 6
    assert all(isinstance(target, Instances) for target in seen) == (make is mask_rcnn)


@either
def test_ignored_areas_teach_nothing(make):
    """What lies under the label -1 is not seen, neither as an image nor as truth."""
    truth = Y.copy()
    truth[:, :20] = -1
    changed = X.copy()
    changed[:, :20] += 100
    params = {"scaling": "asinh", "patch_size": None}
    fitted = make(**params).fit(X, truth)
    assert losses(fitted) == losses(make(**params).fit(changed, truth))
    assert losses(fitted) != losses(make(**params).fit(X, Y))

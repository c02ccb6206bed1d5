from pathlib import Path

import numpy as np
import pytest
from sklearn import config_context
from sklearn.pipeline import make_pipeline

from galaxysegment import Instances, NoSourcesWarning, PhotutilsSegmenter
from galaxysegment.base import BaseImageTransformer, BaseSegmenter, SemanticSegmenter
from galaxysegment.mosaic import segment_mosaic
from galaxysegment.structures._truth import check_targets
from galaxysegment.testing import make_images


class Doubler(BaseImageTransformer):
    _requires_fit = False

    def _transform_image(self, image):
        return 2 * image


class Threshold(BaseSegmenter):
    """The smallest segmenter: two hooks, one of them not needed."""

    _requires_fit = False
    _parameter_constraints = {"level": [float, int]}

    def __init__(self, *, level=10.0):
        self.level = level

    def _segment_image(self, image):
        from galaxysegment.structures import label_components

        return label_components(image[0] > self.level)


class Overlapping(BaseSegmenter):
    def _segment_image(self, image):
        masks = np.zeros((2, *image.shape[1:]), dtype=bool)
        masks[0, :6], masks[1, 4:8] = True, True
        return Instances.from_masks(masks, scores=[0.9, 0.8], classes=[1, 2])


class Mean(SemanticSegmenter):
    _requires_fit = False

    def __init__(self, *, n_pixels=4, deblend=False):
        self.n_pixels = n_pixels
        self.deblend = deblend

    def _image_proba(self, image):
        return np.nan_to_num(image[0]) / 10


class NeedsTruth(BaseSegmenter):
    _requires_y = True

    def _fit_images(self, images, targets):
        self.seen_ = targets


X, Y = make_images()


def test_transformer_keeps_the_container():
    np.testing.assert_array_equal(Doubler().fit_transform(X), 2 * X)
    assert Doubler().transform(X[:, None]).shape == (4, 1, 48, 40)
    as_list = Doubler().transform([X[0], X[1, :9]])
    assert isinstance(as_list, list) and as_list[1].shape == (9, 40)


def test_outputs_work_through_a_pipeline():
    pipe = make_pipeline(Doubler(), Threshold(level=30)).fit(X)
    assert pipe.predict(X, output="panoptic").shape == (4, 2, 48, 40)
    assert isinstance(pipe.predict(X, output="instances")[0], Instances)
    assert 0 < pipe.score(X, Y) <= 1


def test_weights_of_images_in_the_score():
    segmenter = Threshold(level=30)
    each = [segmenter.score(X[[i]], Y[[i]]) for i in range(len(X))]
    assert len(set(each)) > 1
    expected = (3 * each[0] + each[2]) / 4
    assert segmenter.score(X, Y, sample_weight=[3, 0, 1, 0]) == pytest.approx(expected)
    assert segmenter.score(X, Y) == pytest.approx(np.mean(each))
    for bad in ([1, 2], [0] * 4, [-1] * 4):
        with pytest.raises(ValueError, match="sample_weight must"):
            segmenter.score(X, Y, sample_weight=bad)


def test_weights_of_the_score_are_routed():
    weights = [3, 0, 1, 0]
    with config_context(enable_metadata_routing=True):
        pipe = make_pipeline(Doubler(), Threshold(level=60).set_score_request(sample_weight=True))
        score = pipe.fit(X).score(X, Y, sample_weight=weights)
    assert score == pytest.approx(Threshold(level=30).score(X, Y, sample_weight=weights))


def test_no_source_is_zeros_and_a_warning_that_names_the_image():
    faint = np.stack([X[0], np.zeros_like(X[0])])
    with pytest.warns(NoSourcesWarning, match=r"1 of 2 images \(index 1\)"):
        labels = Threshold(level=15).predict(faint)
    assert labels[0].any() and not labels[1].any()


def test_pixels_without_data_belong_to_no_source():
    holed = X.copy()
    holed[:, :, 10] = np.nan
    for segmenter in (Overlapping().fit(X), Threshold(level=-100)):
        assert not segmenter.predict(holed)[:, :, 10].any()
        assert not any(
            sources.masks[:, :, 10].any()
            for sources in segmenter.predict(holed, output="instances")
        )


def test_infinite_values_are_no_data():
    infinite = X.copy()
    infinite[:, 3:9] = np.inf
    assert not Threshold(level=-100).predict(infinite)[:, 3:9].any()


def test_overlapping_instances_become_a_label_map_by_score():
    labels = Overlapping().fit(X).predict(X)[0]
    assert (labels[:6] == 1).all() and (labels[6:8] == 2).all() and not labels[8:].any()
    panoptic = Overlapping().fit(X).predict(X, output="panoptic")[0]
    assert panoptic[0, 0, 0] == 1 and panoptic[0, 7, 0] == 2


def test_semantic_segmenter_drops_small_sources_and_splits_blends():
    rows, columns = np.indices((40, 40))
    pair = sum(30 * np.exp(-((rows - 20) ** 2 + (columns - c) ** 2) / 12) for c in (16, 24)).astype(
        np.float32
    )[None]
    assert Mean().predict(pair).max() == 1
    assert Mean(deblend=True).predict(pair).max() == 2
    with pytest.warns(NoSourcesWarning):
        assert Mean(n_pixels=1000).predict(pair).max() == 0


def test_parameters_are_checked_where_fit_is_not_needed():
    with pytest.raises(ValueError, match="'level' parameter of Threshold"):
        Threshold(level="high").predict(X)


def test_truth_is_required_where_it_is():
    with pytest.raises(ValueError, match="requires y to be passed"):
        NeedsTruth().fit(X)
    assert len(NeedsTruth().fit(X, Y).seen_) == 4


@pytest.mark.parametrize(
    "truth",
    [
        Y,
        list(Y),
        [Instances.from_label_map(true_map) for true_map in Y],
        np.stack([(Y > 0).astype(np.int32), Y], axis=1),
    ],
    ids=["stack", "list", "instances", "panoptic"],
)
def test_targets_in_every_form(truth):
    images = [image[None] for image in X]
    for target, labels in zip(check_targets(truth, images), Y, strict=True):
        label_map = target.to_label_map() if isinstance(target, Instances) else target
        np.testing.assert_array_equal(label_map > 0, labels > 0)
        assert label_map.max() == labels.max()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_binary_targets_become_components(dtype):
    mask = np.array([[[1, 0, 1], [0, 0, 1]]]).astype(dtype)
    assert check_targets(mask, [np.zeros((1, 2, 3))])[0].tolist() == [[1, 0, 2], [0, 0, 2]]


def test_targets_of_another_shape_are_refused():
    images = [image[None] for image in X]
    with pytest.raises(
        ValueError, match=r"y\[0\] has shape \(48, 39\), but X\[0\] has shape \(48, 40\)"
    ):
        check_targets(Y[:, :, :-1], images)
    with pytest.raises(ValueError, match="4 images, but y holds 3"):
        check_targets(Y[:3], images)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (X[0], "np.newaxis"),
        (np.float32(1), "Pass an array"),
        ("image.fits", "read_field"),
        (Path("image.fits"), "read_field"),
        ([X[0], X[:1]], "a list whose arrays have"),
        (["image.fits"], r"X\[0\]=galaxysegment.io.read_field"),
        (None, "Pass an array"),
        ([X[:1], X[:2]], "same number of bands"),
        ([], "0 images"),
        (X[:, :0], "empty"),
    ],
)
def test_bad_images_are_refused(images, words):
    with pytest.raises(ValueError, match=words):
        Doubler().transform(images)


def test_masked_arrays_are_no_data_where_masked():
    masked = np.ma.masked_greater(X, 20)
    np.testing.assert_array_equal(np.isnan(Doubler().transform(list(masked))[0]), X[0] > 20)


def test_text_is_refused():
    with pytest.raises(TypeError, match="real numbers"):
        Doubler().transform(np.full((1, 2, 2), "a"))


@pytest.mark.parametrize("options", [{}, {"no_data": "nan"}])
@pytest.mark.parametrize("rms_band", [2, -3])
def test_an_rms_band_that_is_not_there_is_refused(rms_band, options):
    segmenter = PhotutilsSegmenter(rms_band=rms_band, **options)
    images = np.stack([X[:1], np.ones_like(X[:1])], axis=1)
    with pytest.raises(ValueError, match=f"rms_band={rms_band} asks for .* X has 2 band"):
        segmenter.predict(images)
    with pytest.raises(ValueError, match=f"rms_band={rms_band} asks for .* X has 2 band"):
        segment_mosaic(segmenter, images[0], progress=False)

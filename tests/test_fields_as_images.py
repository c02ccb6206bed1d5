"""A Field or NDData is an image wherever an image goes in, with its RMS map and its mask."""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, InverseVariance, NDData, StdDevUncertainty, VarianceUncertainty
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from galaxysegment import Instances, KMeansSegmenter, PhotutilsSegmenter, RandomForestSegmenter
from galaxysegment.base import BaseSegmenter, ProbabilisticSegmenter
from galaxysegment.datasets import load_sample_field
from galaxysegment.io import Field
from galaxysegment.preprocessing import (
    BackgroundSubtractor,
    BadPixelFiller,
    BandSelector,
    GaussianSmoother,
    ImageNormalizer,
    LuptonRGB,
    NoiseNormalizer,
    PixelFeatures,
    RMSAdder,
)


@pytest.fixture(scope="module")
def field():
    return load_sample_field().section(slice(0, 128), slice(0, 160))


@pytest.fixture(scope="module")
def stacked(field):
    """What users had to write: the image and its RMS map as one array."""
    return np.concatenate([field.image, field.rms[None]])[None]


def ccd_of(field, uncertainty=StdDevUncertainty, power=1):
    return CCDData(
        field.image[0], unit="nJy", uncertainty=uncertainty(field.rms**power), wcs=field.wcs
    )


# Segmenters


def test_predict_takes_the_rms_of_a_field(field, stacked):
    segmenter = PhotutilsSegmenter(rms_band=-1)
    labels = segmenter.predict(field)
    assert labels.shape == field.shape and labels.max() > 2
    np.testing.assert_array_equal(labels, segmenter.predict(stacked)[0])
    assert (labels != PhotutilsSegmenter().predict(field)).any()


def test_without_rms_band_the_map_is_not_used(field):
    segmenter = PhotutilsSegmenter()
    np.testing.assert_array_equal(segmenter.predict(field), segmenter.predict(field.image[None])[0])


def test_lists_give_lists(field):
    segmenter = PhotutilsSegmenter(rms_band=-1)
    maps = segmenter.predict([field, field.section(slice(0, 127), slice(0, 160))])
    assert [labels.shape for labels in maps] == [(128, 160), (127, 160)]
    instances = segmenter.predict([field], output="instances")
    assert isinstance(instances, list) and isinstance(instances[0], Instances)
    assert segmenter.predict(field, output="instances") == instances[0]
    assert segmenter.predict(field, output="panoptic").shape == (2, *field.shape)


@pytest.mark.parametrize(
    ("uncertainty", "power"),
    [(StdDevUncertainty, 1), (VarianceUncertainty, 2), (InverseVariance, -2)],
)
def test_every_uncertainty_of_astropy_becomes_the_rms_map(field, uncertainty, power):
    ccd = ccd_of(field, uncertainty, float(power))
    np.testing.assert_allclose(Field(ccd).rms, field.rms, rtol=1e-5)
    segmenter = PhotutilsSegmenter(rms_band=-1)
    differs = segmenter.predict(ccd) != segmenter.predict(field)
    assert np.mean(differs) < 1e-3  # a root or an inverse rounds


def test_the_mask_of_nddata_blanks_pixels(field):
    brightest = np.unravel_index(np.nanargmax(field.image[0]), field.shape)
    mask = np.zeros(field.shape, dtype=bool)
    mask[brightest[0] - 2 : brightest[0] + 3, brightest[1] - 2 : brightest[1] + 3] = True
    segmenter = PhotutilsSegmenter()
    assert segmenter.predict(NDData(field.image[0]))[brightest] > 0
    assert segmenter.predict(NDData(field.image[0], mask=mask))[brightest] == 0
    assert segmenter.predict([Field(field.image, mask=mask)])[0][brightest] == 0


def test_pixels_without_rms_have_no_data_even_if_the_map_is_not_used(field):
    labels = PhotutilsSegmenter().predict(field)
    rms = np.where(labels == 1, 0, field.rms)
    assert not PhotutilsSegmenter().predict(Field(field.image, rms=rms))[labels == 1].any()


def test_quantities_are_arrays(field):
    X = field.image * u.nJy
    np.testing.assert_array_equal(
        PhotutilsSegmenter().predict(X), PhotutilsSegmenter().predict(field.image)
    )


def test_fit_takes_the_truth_of_the_fields(field, stacked):
    forest = RandomForestSegmenter(features=None, n_estimators=3, max_depth=4, random_state=0)
    truth = field.labels[None]
    expected = clone(forest).fit(field.image[None], truth)
    for fitted in (clone(forest).fit([field, field]), clone(forest).fit(field)):
        assert fitted.n_bands_in_ == 1
    fitted = clone(forest).fit(field)
    np.testing.assert_array_equal(fitted.predict(field), expected.predict(field.image[None])[0])
    assert fitted.score(field) == expected.score(field.image[None], truth)
    assert fitted.score([field]) == fitted.score(field) == fitted.score(field, field.labels)
    np.testing.assert_array_equal(
        fitted.predict_proba(field), expected.predict_proba(field.image[None])[0]
    )


def test_the_truth_keeps_classes_and_overlaps(field):
    class Rememberer(BaseSegmenter):
        _requires_y = True

        def _fit_images(self, images, targets):
            self.targets_ = targets

    own = Field(
        field.image, labels=field.labels, classes=np.arange(1, field.labels.max() + 1) % 2 + 1
    )
    target = Rememberer().fit(own).targets_[0]
    np.testing.assert_array_equal(target.classes, own.classes[np.unique(own.labels)[1:] - 1])
    masks = Instances.from_masks([np.eye(*field.shape) > 0, np.ones(field.shape)])
    assert Rememberer().fit([Field(field.image, instances=masks)]).targets_[0] == masks


def test_model_selection_takes_lists_of_fields():
    whole = load_sample_field()
    fields = [whole.section(slice(0, 256), slice(x, x + 256)) for x in (0, 256, 512, 768)]
    segmenter = PhotutilsSegmenter(rms_band=-1)
    scores = cross_val_score(segmenter, fields, cv=2)
    assert scores.tolist() == [segmenter.score(fields[:2]), segmenter.score(fields[2:])]
    search = GridSearchCV(segmenter, {"n_sigma": [1, 1.5]}, cv=2).fit(fields)
    assert search.best_params_ == {"n_sigma": 1}
    assert search.predict(fields[0]).shape == (256, 256)


def test_a_missing_truth_is_refused(field):
    bare = Field(field.image)
    with pytest.raises(ValueError, match="requires y to be passed"):
        RandomForestSegmenter(features=None).fit([field, bare])
    with pytest.raises(ValueError, match="score needs the truth: pass y="):
        PhotutilsSegmenter().score(bare)


def test_a_net_that_was_trained_with_the_rms_as_an_image_gets_it(field, stacked):
    forest = RandomForestSegmenter(features=None, n_estimators=3, max_depth=4, random_state=0)
    forest.fit(stacked, field.labels[None])
    np.testing.assert_array_equal(forest.predict(field), forest.predict(stacked)[0])


def test_another_rms_band_is_refused(field):
    with pytest.raises(ValueError, match="becomes the last band: use rms_band=-1"):
        PhotutilsSegmenter(rms_band=0).predict(field)


# Transformers and pipelines


@pytest.mark.parametrize(
    "steps",
    [
        (PhotutilsSegmenter(rms_band=-1),),
        (ImageNormalizer(), RMSAdder(), KMeansSegmenter(random_state=0)),
        (ImageNormalizer(limits="fit"), RMSAdder(), KMeansSegmenter(random_state=0)),
        (NoiseNormalizer(rms_band=-1), KMeansSegmenter(random_state=0)),
        (GaussianSmoother(rms_band=-1), PhotutilsSegmenter(fwhm=None, rms_band=-1)),
        (BackgroundSubtractor(rms_band=-1), BadPixelFiller(), PhotutilsSegmenter(rms_band=-1)),
        (BandSelector(bands=[0, -1]), PhotutilsSegmenter(rms_band=-1)),
        (BandSelector(bands=-1, drop=True), PhotutilsSegmenter()),
    ],
    ids=lambda steps: "-".join(type(step).__name__ for step in steps),
)
def test_a_pipeline_sees_the_field_as_the_stack(steps, field, stacked):
    of_stack = make_pipeline(*map(clone, steps)).fit(stacked)
    of_field = make_pipeline(*map(clone, steps)).fit([field])
    expected = of_stack.predict(stacked)[0]
    assert expected.any()
    np.testing.assert_array_equal(of_field.predict(field), expected)
    np.testing.assert_array_equal(of_stack.predict([field])[0], expected)
    assert of_field.score(field) == of_stack.score(stacked, field.labels[None])


def test_a_pipeline_without_use_for_it_drops_the_rms_map(field):
    steps = ImageNormalizer(), KMeansSegmenter(random_state=0)
    expected = make_pipeline(*map(clone, steps)).fit(field.image[None]).predict(field.image[None])
    labels = make_pipeline(*map(clone, steps)).fit([field]).predict([field])
    np.testing.assert_array_equal(labels, expected)


def test_a_transformed_field_is_a_field(field):
    whole = Field(
        field.image * u.nJy,
        rms=field.rms,
        labels=field.labels,
        wcs=field.wcs,
        mask=field.labels == 3,
    )
    smoothed = GaussianSmoother(rms_band=-1).transform(whole)
    assert isinstance(smoothed, Field) and smoothed.wcs is not None
    np.testing.assert_array_equal(smoothed.rms, field.rms)
    np.testing.assert_array_equal(smoothed.labels, field.labels)
    assert smoothed.unit is None and "BUNIT" not in smoothed.header
    assert (whole.unit, whole.header["BUNIT"]) == (u.nJy, "nJy")
    assert np.isnan(smoothed.image[0][field.labels == 3]).all()
    normalized = NoiseNormalizer(rms_band=-1).transform([whole])[0]
    assert not normalized.has_rms and normalized.n_bands == 1


@pytest.mark.parametrize(
    ("transformer", "n_bands"),
    [(LuptonRGB(order=(0, 0, 0)), 3), (PixelFeatures(), 11), (GaussianSmoother(), 1)],
    ids=lambda step: type(step).__name__,
)
def test_a_transformer_of_images_leaves_the_rms_map_beside(transformer, n_bands, field):
    small = field.section(slice(0, 32), slice(0, 32))
    changed = transformer.fit([small]).transform([small])[0]
    assert changed.n_bands == n_bands
    np.testing.assert_array_equal(changed.rms, small.rms)


def test_pickers_of_bands_know_where_the_rms_map_goes(field):
    assert BandSelector(bands=[0, 1]).transform(field).has_rms
    assert not BandSelector(bands=[1, 0]).transform(field).has_rms
    assert not BandSelector(bands=-1, drop=True).transform(field).has_rms


def test_probabilities_of_a_field_are_one_map(field):
    class Threshold(ProbabilisticSegmenter):
        _requires_fit = False
        n_pixels, deblend = 5, False

        def _image_proba(self, image):
            return (image[0] > 1).astype(np.float32)

    assert Threshold().predict_proba(field).shape == field.shape
    assert Threshold().predict_proba([field])[0].shape == field.shape

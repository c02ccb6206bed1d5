import matplotlib as mpl
import numpy as np
import pytest

from galaxysegment import Instances
from galaxysegment.display import SegmentationDisplay, color_labels, stretch_for_display
from galaxysegment.testing import make_images

mpl.use("agg")
X, Y = make_images()


@pytest.fixture(autouse=True)
def close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_three_panels_count_their_sources():
    shown = SegmentationDisplay.from_predictions(Y[0], Instances.from_label_map(Y[0]), image=X[0])
    assert [axis.get_title() for axis in shown.axes_] == [
        "image",
        "truth: 3 sources",
        "prediction: 3 sources",
    ]
    shown.figure_.canvas.draw()


def test_only_a_prediction_is_one_panel():
    assert len(SegmentationDisplay.from_predictions(None, Y[0]).axes_) == 1


def test_from_estimator_predicts_the_image_asked_for():
    class Echo:
        def predict(self, images, output):
            assert output == "labels" and len(images) == 1
            return (images > 15).astype(np.int32)

    shown = SegmentationDisplay.from_estimator(Echo(), X, Y, index=2)
    np.testing.assert_array_equal(shown.y_pred, X[2] > 15)
    np.testing.assert_array_equal(
        SegmentationDisplay.from_estimator(Echo(), X, Y, index=-1).image, X[-1]
    )


def test_three_bands_are_colours_and_no_data_is_black():
    image = np.stack([X[0], X[1], X[2]])
    image[:, 0, 0] = np.nan
    scaled = stretch_for_display(image)
    assert (
        scaled.shape == (48, 40, 3)
        and scaled.min() >= 0
        and scaled.max() <= 1
        and scaled[0, 0].max() == 0
    )
    assert stretch_for_display(np.full((4, 4), np.nan)).max() == 0


def test_every_label_has_a_colour_and_background_none():
    colors = color_labels(np.array([[0, 1, 2, 98]]), alpha=0.5)[0]
    assert colors[0, 3] == 0 and (colors[1:, 3] == 0.5).all() and (colors[1] != colors[2]).any()


def test_a_found_source_has_the_colour_of_the_true_one():
    renumbered = np.where(Y[0] > 0, 4 - Y[0], 0)
    shown = SegmentationDisplay.from_predictions(Y[0], renumbered)
    truth, prediction = (axis.images[0].get_array() for axis in shown.axes_)
    np.testing.assert_array_equal(truth, prediction)


def test_sources_of_a_cut_out_have_the_colours_of_the_true_ones():
    truth = np.where(Y[0] > 0, Y[0] + 40, 0)
    shown = SegmentationDisplay.from_predictions(truth, Y[0])
    panels = [axis.images[0].get_array() for axis in shown.axes_]
    np.testing.assert_array_equal(*panels)


def test_sources_of_a_cut_out_are_counted_not_the_largest_label():
    shown = SegmentationDisplay.from_predictions(None, np.array([[0, 7], [9, 9]]))
    assert shown.axes_[0].get_title() == "prediction: 2 sources"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": X}, "one image at a time"),  # three images would pass for bands, four do not fit
        ({"image": X[0, :9]}, "image has shape"),
        ({"image": X[0], "stretch": "cubic"}, "stretch must be one of"),
        ({"image": X[0], "axes": [1]}, "axes holds 1"),
    ],
)
def test_bad_input_is_refused(options, words):
    options = {
        **options,
        "image": options["image"][None] if options["image"] is X else options["image"],
    }
    with pytest.raises(ValueError, match=words):
        SegmentationDisplay.from_predictions(Y[0], Y[0], **options)
    with pytest.raises(ValueError, match="y_true has shape"):
        SegmentationDisplay.from_predictions(Y[0][:4], Y[0])


def test_a_field_is_shown_as_its_image():
    from galaxysegment import PhotutilsSegmenter
    from galaxysegment.datasets import load_sample_field
    from galaxysegment.display import SegmentationDisplay

    field = load_sample_field().section(slice(0, 128), slice(0, 160))
    segmenter = PhotutilsSegmenter(rms_band=-1)
    for X in (field, [field]):
        display = SegmentationDisplay.from_estimator(segmenter, X)
        np.testing.assert_array_equal(display.image, field.image)
        np.testing.assert_array_equal(display.y_pred, segmenter.predict(field))

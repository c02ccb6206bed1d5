"""What the scores of a detector are worth."""

import numpy as np
import pytest

from galaxysegment import MaskRCNNSegmenter
from galaxysegment.persistence import load, save
from galaxysegment.segmenters._score_scale import ScoreScale, check_score_scale
from galaxysegment.testing import make_images


def test_the_line_of_logits_and_back():
    scale = ScoreScale(1.3, 0.4)
    scores = np.linspace(0.01, 0.99, 50).astype(np.float32)
    worth = scale.apply(scores)
    assert (np.diff(worth) > 0).all()
    odds = scores.astype(float) / (1 - scores.astype(float))
    np.testing.assert_allclose(worth / (1 - worth), np.exp(0.4) * odds**1.3)
    np.testing.assert_allclose([scale.undo(value) for value in worth], scores, rtol=1e-6)
    assert scale.apply(np.array([0.0, 1.0])).tolist() == pytest.approx([0, 1], abs=1e-6)


@pytest.mark.parametrize("values", [(0, 1), (-1, 0), (np.nan, 0), (1, np.inf)])
def test_numbers_that_are_no_scale(values):
    with pytest.raises(ValueError, match="a slope above 0"):
        check_score_scale(values)


@pytest.mark.filterwarnings("ignore:.*may hold more sources")
def test_a_file_keeps_the_scale_and_training_ends_it(tmp_path):
    pytest.importorskip("torch")
    X, y = make_images(2, shape=(32, 32))
    params = {"backbone": "resnet10", "channels": 8, "n_proposals": 20, "max_epochs": 1}
    net = MaskRCNNSegmenter(**params, validation_fraction=0, random_state=0).fit(X, y)
    boxes = net._look(net._scale_all(X[:, np.newaxis]), 0.2)[0]
    net._score_scale = ScoreScale(2.0, -0.5)
    save(net, tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    assert again._score_scale == net._score_scale
    limit = float(net._score_scale.apply(0.2))
    for own, scaled in zip(
        boxes, again._look(again._scale_all(X[:, np.newaxis]), limit)[0], strict=True
    ):
        assert len(own["scores"]) == len(scaled["scores"]) > 0
        expected = net._score_scale.apply(own["scores"].numpy())
        np.testing.assert_allclose(scaled["scores"].numpy(), expected, rtol=1e-4)
    assert again.fit(X, y)._score_scale is None

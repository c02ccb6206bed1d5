"""The scores of the leaderboard: which sources count, how they match and rank."""

import numpy as np
import pytest

from galaxysegment import Instances


def test_fragments_do_not_count():
    from benchmarks.leaderboard.scores import count_sources

    labels = np.zeros((20, 20), dtype=int)
    labels[2:8, 2:8], labels[15:20, 19] = 1, 2
    truth = Instances.from_label_map(labels)
    built = [
        Instances.from_label_map(labels),
        Instances.from_label_map(np.where(labels == 1, 1, 0)),
    ]
    counted, seen = count_sources([truth, truth], built, n_pixels=10)
    assert counted[0].tolist() == [True, False]
    assert [len(part) for part in seen] == [1, 1]


def test_matching_by_position():
    from benchmarks.leaderboard.robustness import compare_positions

    masks = np.zeros((3, 40, 40), dtype=bool)
    masks[0, 5:9, 5:9] = masks[1, 20:24, 20:24] = masks[2, 5:9, 30:34] = True
    truth = [Instances.from_masks(masks[:2])]
    positions = [
        np.array([[6.5, 6.5], [21.5, 21.5], [6.5, 31.5]])
    ]  # the third is real, but not labelled
    assert compare_positions(truth, positions, [Instances.from_masks(masks)]) == (1.0, 1.0)
    assert compare_positions(truth, positions, [Instances.from_masks(masks[1:])]) == (0.5, 1.0)
    shifted = [Instances.from_masks(masks[:2]).shift(8, 0)]
    assert compare_positions(truth, positions, shifted) == (0.0, 0.0)


def test_twice_the_noise():
    from benchmarks.leaderboard.fields import noisier_field, observe

    pytest.importorskip("galsim")
    field, sources = observe((256, 256), 3)
    noisy = noisier_field((256, 256), 3, 2.0)
    np.testing.assert_allclose(noisy.rms, 2 * np.asarray(field.rms), rtol=1e-5)
    assert len(noisy.catalog) < len(field.catalog) < len(sources)
    from galaxysegment.datasets import make_field

    same = make_field((256, 256), random_state=3)
    np.testing.assert_array_equal(same.labels, field.labels)
    np.testing.assert_allclose(same.image, field.image, rtol=1e-5)


@pytest.fixture(scope="module")
def crowd():
    """Image with its RMS map, and the truth: sources of many heights, without the faintest."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:256, :256]
    image, truth = rng.normal(size=(256, 256)), np.zeros((256, 256), dtype=np.int32)
    places = [(row, column) for row in range(16, 256, 32) for column in range(16, 256, 32)]
    for label, (row, column) in enumerate(places, start=1):
        light = 1.5 * 1.06**label * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 16)
        image += light
        if label > 20:
            truth[light > 1] = label - 20
    return np.stack([image, np.ones_like(image)]), truth


def test_scores_of_segmenters_rank_as_those_of_the_leaderboard(crowd):
    from benchmarks.leaderboard.scores import ranked
    from benchmarks.leaderboard.settings import A
    from galaxysegment import PhotutilsSegmenter
    from galaxysegment.metrics import average_precision

    image, truth = crowd
    segmenter = PhotutilsSegmenter(rms_band=-1, box_size=256, n_sigma=1)
    own = segmenter.predict(image[np.newaxis], output="instances")
    unranked = [Instances.from_label_map(own[0].to_label_map())]
    private = ranked(unranked, image[np.newaxis], A)
    # Clipped mean of the sky here, median there: they differ by a few hundredths of the noise.
    np.testing.assert_allclose(own[0].scores, private[0].scores, rtol=0.1)
    expected = average_precision([truth], private)
    assert average_precision([truth], own) == pytest.approx(expected, abs=1e-12)
    assert average_precision([truth], unranked) < expected - 0.02


def test_scores_of_segmenters_are_not_replaced(crowd):
    from benchmarks.leaderboard.scores import ranked
    from benchmarks.leaderboard.settings import A

    image, truth = crowd
    sources = Instances.from_label_map(truth)
    lone, pair = (
        Instances(sources.shape, part.boxes, part.crops, scores)
        for part, scores in ((sources[:1], [0.7]), (sources[:2], [0.7, 0.9]))
    )
    assert ranked([lone, pair], [image, image], A) == [lone, pair]
    (without,) = ranked([sources], [image], A)
    assert np.ptp(without.scores) > 1


def test_regions_are_split_by_the_truth():
    from benchmarks.leaderboard.limit import split_by_truth

    mask, truth = np.zeros((12, 30), dtype=bool), np.zeros((12, 30), dtype=int)
    mask[2:6, 1:11] = mask[8:11, 1:6] = mask[2:6, 20:22] = True
    truth[2:5, 0:4], truth[2:5, 8:12] = 7, 3
    labels = split_by_truth(mask, truth, n_pixels=10)
    # the first region has two sources, the second none and stays, the third is too small
    np.testing.assert_array_equal(np.unique(labels), [0, 1, 2, 3])
    assert len({*np.unique(labels[2:6, 1:6])} | {*np.unique(labels[2:6, 6:11])}) == 2
    assert (labels[8:11, 1:6] == labels[8, 1]).all() and not labels[:, 20:].any()


def test_the_limit_of_a_net(tmp_path, capsys):
    """Regions that the truth splits are at least as good as those of a segmenter."""
    from benchmarks.leaderboard.__main__ import main
    from benchmarks.leaderboard.settings import A
    from galaxysegment import RandomForestSegmenter
    from galaxysegment.persistence import save

    patches = A.train(2, 0, "tiny")
    segmenter = RandomForestSegmenter(n_estimators=3, rms_band=-1, random_state=0)
    save(segmenter.fit(patches.X, patches.y), tmp_path / "forest.gseg")
    main(["limit", str(tmp_path / "forest.gseg"), "--scale", "tiny"])
    f1 = [float(line.rsplit(maxsplit=1)[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(f1) == 4 and 0 < f1[0] < max(f1[1:]) <= 1

"""The leaderboard on images of other simulators: what it reads, scores and tells."""

import numpy as np
import pytest

from galaxysegment import Instances


def squares(*places, classes=None, scores=None):
    """Sources of 4 × 4 pixels in an image of 40²."""
    boxes = [(y, x, y + 4, x + 4) for y, x in places]
    return Instances((40, 40), boxes, [np.ones((4, 4), dtype=bool)] * len(boxes), scores, classes)


def test_the_galsim_field_is_read_with_its_truth(data_dir):
    from benchmarks.leaderboard.elsewhere import galsim_parts

    parts = galsim_parts(data_dir)
    assert [part.X.shape for part in parts] == [(2, 4, 512, 512)] * 2
    noise = [1.4826 * np.nanmedian(abs(band - np.nanmedian(band))) for band in parts[0].X[0, :3]]
    np.testing.assert_allclose(noise, 1, atol=0.25)  # every band in units of its noise
    for part in parts:
        for image, truth, snr in zip(part.X, part.truth, part.snr, strict=True):
            assert len(truth) == len(snr) > 50
            assert {1, 2} == set(truth.classes)
            assert not np.isnan(image[:, truth.to_mask()]).any()
            science = image[1] - np.nanmedian(image[1])
            bright = truth.select(snr > 20)
            assert np.mean([science[mask].mean() > 1 for mask in bright.masks]) > 0.95
            assert np.mean([science.T[mask].mean() > 1 for mask in bright.masks]) < 0.5


def test_the_blends_are_read_with_their_truth(data_dir):
    from benchmarks.leaderboard.elsewhere import NOISE_OF_BLENDS, btk_parts

    for name, part in zip(("catsim", "cosmos"), btk_parts(data_dir), strict=True):
        with np.load(data_dir / "sim_btk_blends" / f"{name}_dev.npz") as stored:
            catalog = stored["catalog"]
        areas = np.concatenate([sources.areas for sources in part.truth])
        np.testing.assert_array_equal(areas, catalog["npix_mask"][catalog["npix_mask"] > 0])
        assert part.X.shape == (30, 120, 120)
        assert np.percentile(part.X, 16) == pytest.approx(-NOISE_OF_BLENDS, rel=0.2)


def test_distance_to_the_next_source():
    from benchmarks.bench_elsewhere import distance_to_nearest

    np.testing.assert_allclose(distance_to_nearest(squares((0, 0), (3, 4), (30, 4))), [5, 5, 27])
    assert distance_to_nearest(squares((0, 0))) == [np.inf]
    assert len(distance_to_nearest(squares())) == 0


def test_the_windows_are_where_sources_are_close():
    from benchmarks.bench_elsewhere import crowded_windows
    from benchmarks.leaderboard.fields import Patches

    alone, close = squares((2, 2), (30, 30)), squares((20, 20), (24, 24), (2, 2))
    patches = Patches(np.zeros((2, 40, 40)), None, [alone, close], None, None, None)
    ((index, rows, columns),) = crowded_windows(patches, 1, size=16)
    assert index == 1
    assert (rows.start, columns.start) == (16, 16)


def test_signal_to_noise_where_data_are_missing():
    from benchmarks.leaderboard.scores import signal_to_noise
    from benchmarks.leaderboard.settings import A, B

    image = np.random.default_rng(0).normal(size=(2, 40, 40))
    image[1] = 1
    image[0, 20:24, 20:24] = 10
    expected = signal_to_noise(squares((20, 20)), image, A)
    image[:, :, 30:] = np.nan
    np.testing.assert_allclose(signal_to_noise(squares((20, 20)), image, A), expected, atol=1)
    assert signal_to_noise(squares((20, 20)), image[:1], B)[0] > 30


def test_curves_of_all_and_of_each_class():
    from benchmarks.leaderboard.scores import coco, curves

    truth = [squares((0, 0), (20, 20), classes=[1, 2])]
    swapped = [squares((0, 0), (20, 20), classes=[2, 1], scores=[0.9, 0.8])]
    told = curves(truth, swapped, told_apart=True)
    assert told["all"]["AP"] == pytest.approx([1.0] * 10)
    assert told["galaxy"]["AP"] == told["star"]["AP"] == pytest.approx([0.0] * 10)
    assert set(curves(truth, swapped, told_apart=False)) == {"all"}
    rows = coco(truth, swapped, "segm", told_apart=True)
    assert [rows[name]["AP50"] for name in ("all", "galaxy", "star")] == pytest.approx([1, 0, 0])


def test_the_page_says_what_is_stored():
    from benchmarks.leaderboard.elsewhere_page import INTRODUCTION, comparisons, lines

    bins = {"edges": [0, 4, None], "n": [40, 0], "n_hit": [30, 0]}
    row = {
        "system": "Mask R-CNN as it was",
        "net": "C.mask_rcnn.snr.0",
        "picture": "galsim.png",
        "segm": {name: {"AP": 0.5, "AP50": 0.75, "AP75": 0.25} for name in ("all", "star")},
        "sources": {"precision": 0.9, "recall": 0.8, "f1": 0.85},
        "iou": 0.7,
        "separation": bins,
        "completeness by snr": bins,
        "fits": [{"processor_seconds": 61.2, "chosen": {"score_threshold": 0.4}}],
    }
    peer = {**row, "system": "sep, tuned", "completeness by snr": {**bins, "n_hit": [40, 0]}}
    text = "\n".join(lines({"galsim": [row, peer]}))
    assert (
        '"Mask R-CNN as it was", ".500", ".750", ".250", ".900", ".800", ".850", ".700", "–", '
        '".750"' in text
    )
    assert '"system", "0–4 (40)", "≥ 4 (0)"' in text
    assert '"Mask R-CNN as it was", ".75", "–"' in text
    assert "Fits: Mask R-CNN as it was: 61 processor seconds, score_threshold = 0.4;" in text
    assert "The Mask R-CNN of two rows was trained in setting C." in text
    assert "/_static/elsewhere/galsim.png" in text
    told = "Mask R-CNN as it was: **behind** in 1 of 2 bins: S/N 0–4: .75 against 1.00 of sep"
    assert told in text
    ((title, scores, _),) = comparisons({"galsim": [row, peer]})
    assert title == "GalSim's field: Mask R-CNN as it was"
    assert scores[0] == ("AP", 0.5, 0.5)
    assert scores[-1] == ("recall at S/N 0–4, 40 sources", 0.75, 1.0)
    assert comparisons({"galsim": [row]}) == []
    few = {**bins, "n": [9, 0], "n_hit": [9, 0]}  # too few sources to compare
    scarce = [{**item, "completeness by snr": few, "separation": few} for item in (row, peer)]
    assert "behind in none of 0 bins." in "\n".join(lines({"galsim": scarce}))
    assert not [name for name, *_ in comparisons({"galsim": scarce})[0][1] if "S/N" in name]
    assert "by a script that is not part" in lines({"galsim": [row]}, {row["net"]})[1 + 3]
    assert "behind" not in "\n".join(lines({"galsim": [row]})[1:])  # no program of others
    assert lines({}) == [INTRODUCTION]


def test_shipped_nets_meet_the_peers_apart_from_trained_ones():
    from benchmarks.leaderboard.elsewhere_page import comparisons, leaders, lines

    def make(system, n_hit, **more):
        bins = {"edges": [0, 4, 8], "n": [40, 40], "n_hit": n_hit}
        return {
            "system": system,
            "segm": {"all": {"AP": 0.5}},
            "sources": {"f1": n_hit[0] / 40},
            "separation": bins,
            "completeness by snr": bins,
            "fits": [],
            **more,
        }

    rows = [
        make("Mask R-CNN, fine-tuned", [40, 40], net="B.mask_rcnn.raw.0", command="first"),
        make('UNetSegmenter, shipped weights "vis"', [30, 10], command="second"),
        make('UNetSegmenter, shipped weights "sky"', [10, 30], command="second"),
        make("sep, tuned", [20, 32]),
    ]
    contests = comparisons({"btk": rows})
    assert [former for *_, former in contests] == [False, True]
    told = {title: scores for title, scores, _ in contests}
    shipped = told["BlendingToolKit's blends: shipped nets as they are"]
    assert ("recall at S/N 0–4, 40 sources", 0.75, 0.5) in shipped
    assert ("recall at S/N 4–8, 40 sources", 0.75, 0.8) in shipped
    assert ("F1", 1.0, 0.5) in told["BlendingToolKit's blends: Mask R-CNN, fine-tuned"]
    best = {name: (ours[1], theirs[1]) for name, ours, theirs in leaders(rows)}
    assert best["F1"] == ("Mask R-CNN, fine-tuned", "sep, tuned")
    assert leaders(rows[:3]) == leaders(rows[3:]) == leaders([]) == []
    text = "\n".join(lines({"btk": rows}))
    assert "- Shipped nets as they are: **behind** in 2 of 4 bins: S/N 4–8: .75 against" in text
    assert "- Mask R-CNN, fine-tuned: behind in none of 4 bins." in text
    assert "Commands: ``second``, ``first``." in text

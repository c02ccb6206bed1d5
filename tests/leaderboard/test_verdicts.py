"""What the leaderboard calls ahead and behind: only equals meet."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_behind_and_ahead_of_what_was_reported(tmp_path):
    from benchmarks.leaderboard.store import Store
    from benchmarks.leaderboard.table_file import write_runs
    from benchmarks.leaderboard.verdicts import compare_reported

    def store(iou):
        pixels = {"mean": {"iou": iou, "recall": 1.0, "dice": 1.0, "accuracy": 1.0}}
        run = {
            "setting": "A",
            "system": "unet",
            "variant": "4",
            "seed": 0,
            "label": "U",
            "pixels": pixels,
        }
        write_runs(tmp_path / "A.csv", [run])
        return "\n".join(compare_reported(Store(tmp_path)))

    assert "**behind:** .700 (reported .708)" in store(0.7)
    assert "variant 4: Liberator + log RMS, IoU: by .008" in store(0.7)
    assert "behind" not in store(0.8).replace("is behind the reported one", "")


def test_only_equals_are_compared(stored):
    from benchmarks.leaderboard.verdicts import duels

    store = stored(
        ("unet", "snr", 0, 0.9),
        ("unet_long", "snr", 0, 0.95),
        ("photutils_tuned", "raw", 0, 0.7),
        ("sextractor_tuned", "raw", 0, 0.8),
        ("sextractor", "raw", 0, 0.75),
        ("smp_unet", "snr", 0, 0.85),
    )
    pairs = [(duel.kind, duel.ours, duel.theirs) for duel in duels(store)]
    assert pairs == [("tuned", 0.7, 0.8), ("trained", 0.9, 0.85)]
    store = stored(("unet", "snr", 0, 0.9), ("sextractor_tuned", "raw", 0, 0.8))
    assert duels(store) == []  # a trained net against a tuned program


def test_systems_meet_on_common_seeds(stored):
    from benchmarks.leaderboard.verdicts import against_peers, duels

    store = stored(
        ("unet", "snr", 1, 0.95),
        ("mask_rcnn", "snr", 0, 0.8),
        ("mask_rcnn", "snr", 1, 0.9),
        ("smp_unet", "snr", 0, 0.85),
    )
    (duel,) = duels(store)  # the U-Net saw other fields than the peer
    assert (duel.ours, duel.theirs, duel.seeds) == (0.8, 0.85, (0,))
    assert '"0", "**behind** by .0500"' in "\n".join(against_peers(store))


def test_a_reported_number_meets_its_own_preprocessing_only(stored):
    from benchmarks.leaderboard.verdicts import cells_behind, compare_reported

    store = stored(("mask_rcnn", "snr", 0, 0.9))
    behind, n_compared, n_missing = cells_behind(store)
    assert (behind, n_compared) == ([], 0)
    assert n_missing > 80
    assert "(reported .780)" in "\n".join(compare_reported(store))
    assert "not run (reported .780)" in "\n".join(compare_reported(store))


def test_what_changed_sign_is_listed(stored):
    from benchmarks.leaderboard.verdicts import changed

    lost = stored(("unet", "snr", 0, 0.8), ("smp_unet", "snr", 0, 0.9))
    text = "\n".join(changed(lost))
    assert "source F1 of setting A (trained)" in text
    assert "ahead by .022 (segmentation_models_pytorch U-Net)" in text
    assert "behind by .100 (segmentation_models_pytorch U-Net)" in text
    kept = stored(("unet", "snr", 0, 0.9), ("smp_unet", "snr", 0, 0.8))
    assert "source F1 of setting A" not in "\n".join(changed(kept))


def test_a_loss_that_became_a_lead_is_listed(results):
    from benchmarks.leaderboard.store import Store
    from benchmarks.leaderboard.verdicts import changed

    name = '"BlendingToolKit\'s blends: recall at S/N 10–15"'
    (line,) = [line for line in changed(Store(results)) if name in line]
    _, then, now = line.split('", "')
    assert then == "Mask R-CNN, fine-tuned behind by .214 (sep, tuned)"
    assert "ahead by .107 (sep, tuned)" in now


def test_every_reported_number_has_its_study_in_the_bibliography():
    from benchmarks.leaderboard.reported import REPORTED, STUDIES, STUDY_OF

    page = (ROOT / "docs" / "guide" / "bibliography.rst").read_text(encoding="utf-8")
    entries = {" ".join(entry.split()) for entry in page.split(".. [")}
    for study in STUDIES:
        (entry,) = [entry for entry in entries if entry.startswith(f"{study.label}]")]
        assert study.authors in entry
        assert study.title in entry
        assert study.year in entry
    labels = {study.label for study in STUDIES}
    assert {STUDY_OF[cell.setting] for cell in REPORTED} <= labels

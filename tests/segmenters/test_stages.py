"""Training in stages: which layers change, when a stage ends, schedules by name."""

import signal

import pytest

from galaxysegment.segmenters import MaskRCNNSegmenter
from galaxysegment.segmenters._stages import STAGES, check_stages
from tests.segmenters.tiny_mask_rcnn import TINY, X, Y, tensors

torch = pytest.importorskip("torch")
# nets that learnt for an epoch find nothing, or something everywhere
pytestmark = [
    pytest.mark.filterwarnings("ignore:No source was found"),
    pytest.mark.filterwarnings("ignore:.*may hold more sources"),
]


def test_stages_train_what_they_say():
    stages = [
        {"layers": "heads", "max_epochs": 1, "lr": 1e-3},
        {"layers": "5+", "max_epochs": 2, "lr": 1e-4},
    ]
    start = tensors(MaskRCNNSegmenter(**TINY | {"lr": 1e-30, "optimizer": "sgd"}).fit(X, Y))
    segmenter = MaskRCNNSegmenter(**TINY, stages=stages).fit(X, Y)
    assert len(segmenter.history_) == 3
    end = tensors(segmenter)
    weights = [name for name in start if name.endswith("weight")]
    changed = {
        name.split(".")[2]
        for name in weights
        if "body" in name and not torch.equal(start[name], end[name])
    }
    assert changed == {"layer4"}
    assert not torch.equal(start["rpn.head.cls_logits.weight"], end["rpn.head.cls_logits.weight"])
    assert all(parameter.requires_grad for parameter in segmenter.net_.module_.parameters())
    assert segmenter.net_.optimizer_.param_groups[0]["lr"] == 1e-4


def test_an_interrupt_ends_all_stages():
    from skorch.callbacks import Callback

    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            signal.raise_signal(signal.SIGINT)

    stages = [{"layers": "all", "max_epochs": 1, "lr": 1e-3}] * 3
    segmenter = MaskRCNNSegmenter(**TINY, stages=stages, callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        segmenter.fit(X, Y)
    assert len(segmenter.history_) == 1


def test_early_stopping_ends_one_stage_only():
    stages = [{"layers": "all", "max_epochs": 9, "lr": 1e-12}] * 2
    segmenter = MaskRCNNSegmenter(**TINY, stages=stages, patience=2).fit(X, Y)
    assert 6 <= len(segmenter.history_) < 18


def test_named_schedules():
    assert all(check_stages(name) == stages for name, stages in STAGES.items())
    assert [stage["max_epochs"] for stage in STAGES["overlapping-2019"]] == [15, 5, 40, 20]
    rates = [stage["lr"] for stage in STAGES["deep-fields-2020"]]
    assert (
        rates == sorted(rates, reverse=True) and STAGES["deep-fields-2020"][0]["layers"] == "heads"
    )


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ("fast", "no schedule: use 'overlapping-2019'"),
        ([], "stages is empty"),
        ([{"layers": "heads"}], r"stages\[0\] must be a dict with the keys"),
        ([{"layers": "neck", "max_epochs": 1, "lr": 1e-3}], "'neck'"),
        ([{"layers": "all", "max_epochs": 0, "lr": 1e-3}], "whole number from 1"),
        ([{"layers": "all", "max_epochs": 1, "lr": 0}], "positive number"),
    ],
)
def test_stages_that_make_no_sense(stages, words):
    with pytest.raises(ValueError, match=words):
        MaskRCNNSegmenter(**TINY, stages=stages).fit(X, Y)

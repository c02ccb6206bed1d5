"""Model files whose header describes a net far larger than the weights beside it.

Refused before memory is taken.
"""

import json
import time
import tracemalloc
from functools import cache

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from galaxysegment import DETRSegmenter, MaskRCNNSegmenter, UNetSegmenter
from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment.persistence import load, save
from galaxysegment.testing import make_images

X, Y = make_images(2, shape=(32, 32))
QUICK = {"max_epochs": 1, "validation_fraction": 0, "random_state": 0}
SET = {
    **QUICK,
    "d_model": 32,
    "decoder_layers": 1,
    "n_queries": 4,
    "n_points": 64,
    "base_width": 2,
    "depth": 2,
}
NETS = {
    "unet": UNetSegmenter(base_width=2, depth=2, threshold=0.5, **QUICK),
    "mask_rcnn": MaskRCNNSegmenter(
        backbone="resnet10", channels=8, n_proposals=20, score_threshold=0.3, **QUICK
    ),
    "peaks": DETRSegmenter(score_threshold=0.5, **SET),
    "residual": DETRSegmenter(backbone="light", score_threshold=0.5, **SET),
    "detr": DETRSegmenter(
        architecture="detr", backbone="light", stem_stride=4, score_threshold=0.5, **SET
    ),
    "detr-peaks": DETRSegmenter(architecture="detr", score_threshold=0.5, **SET),
}
MEGABYTE = 2**20
COUNTED = {"depth", "n_classes", "config", "decoder_layers"}


@cache
def fitted(kind):
    return NETS[kind].fit(X, Y)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def forge(kind, path, change):
    """Write a file with another tree and a checksum that fits it."""
    save(fitted(kind), path)
    tree = read_model_file(path)
    change(tree)
    write_model_file(path, tree)


class Allocations(TorchDispatchMode):
    """Record the largest tensor with memory behind it."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for output in outputs if isinstance(outputs, (list, tuple)) else [outputs]:
            if isinstance(output, torch.Tensor) and output.device.type != "meta":
                self.largest = max(self.largest, output.numel() * output.element_size())
        return outputs


def refused(path, words):
    with pytest.raises(ValueError, match=words) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"'{path}' cannot be loaded") and len(message) < 700


FORGERIES = [
    ("unet", {"base_width": 4096}, r"layer of shape \(4096, 4096, 3, 3\), more than all weights"),
    (
        "unet",
        {"base_width": 3},
        r"have shape \(2, 1, 3, 3\) in the file, but have shape \(3, 1, 3, 3\)",
    ),
    ("unet", {"base_width": 2**70}, "more than all weights of the file|Overflow|Error"),
    ("unet", {"depth": 10**9}, r"'depth' parameter of UNetSegmenter .* Got 1000000000"),
    ("unet", {"depth": 8}, "are not in the file"),
    ("unet", {"n_bands": 10**12}, "takes 1000000000000 band"),
    ("mask_rcnn", {"channels": 4096}, r"'backbone\.fpn\.inner_blocks|more than all weights"),
    ("mask_rcnn", {"backbone": "resnet101"}, "are not in the file|have shape"),
    ("mask_rcnn", {"n_classes": 10**9}, r"n_classes is 1000000000, but the file holds \d+ weights"),
    ("peaks", {"base_width": 4096}, "have shape|more than all weights"),
    ("peaks", {"d_model": 2**20}, "more than all weights"),
    ("peaks", {"decoder_layers": 10**9}, "far more layers than the file has weights"),
    ("peaks", {"feedforward": 10**7}, "more than all weights"),
    ("peaks", {"n_classes": 10**9}, "n_classes is 1000000000"),
    ("residual", {"encoder_layers": 10**9}, "far more layers"),
    ("residual", {"n_queries": 10**9}, "more than all weights"),
    ("residual", {"d_model": 4096}, "have shape|more than all weights"),
    ("detr", {"decoder_layers": 10**9}, "far more layers"),
    ("detr", {"n_queries": 10**9}, "more than all weights"),
    ("detr", {"d_model": 4096}, "have shape|more than all weights"),
    ("detr-peaks", {"decoder_layers": 10**9}, "far more layers"),
    ("detr-peaks", {"base_width": 4096}, "have shape|more than all weights"),
    (
        "detr",
        {"config": json.dumps({"num_labels": 10**9})},
        "config holds numbers as large as 1000000000",
    ),
    (
        "detr",
        {"config": json.dumps({"backbone_config": {"depths": [10**6] * 100}})},
        "as large as 100000000",
    ),
]


def change_net(change):
    return lambda tree: tree["state"]["module_params"].update(change)


@pytest.mark.parametrize(("kind", "change", "words"), FORGERIES)
def test_a_net_larger_than_its_file_is_refused_before_memory_is_taken(kind, change, words, path):
    forge(kind, path, change_net(change))
    start = time.process_time()
    with Allocations() as allocations:
        refused(path, words)
    assert allocations.largest < 4 * MEGABYTE and time.process_time() - start < 20


@pytest.mark.parametrize(
    ("kind", "change", "words"), [forgery for forgery in FORGERIES if COUNTED & forgery[1].keys()]
)
def test_python_does_not_count_to_a_forged_number(kind, change, words, path):
    forge(kind, path, change_net(change))
    refused(path, words)  # imports what it needs
    tracemalloc.start()
    try:
        refused(path, words)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * path.stat().st_size + 16 * MEGABYTE


def test_settings_of_the_net_cannot_bring_it_in_either(path):
    forge("unet", path, lambda tree: tree["params"].update(net_params={"module__base_width": 4096}))
    with Allocations() as allocations:
        refused(path, r"layer of shape \(4096, 4096, 3, 3\)")
    assert allocations.largest < MEGABYTE


@pytest.mark.parametrize("kind", NETS)
def test_the_measure_sees_a_net_that_is_loaded(kind, path):
    """Or the limits above would say nothing."""
    save(fitted(kind), path)
    with Allocations() as allocations:
        loaded = load(path)
    weights = [
        tensor.numel() * tensor.element_size()
        for tensor in loaded.net_.module_.state_dict().values()
    ]
    assert allocations.largest >= max(weights)


def lose(tree):
    del tree["state"]["tensors"][next(iter(tree["state"]["tensors"]))]


def add(tree):
    tree["state"]["tensors"]["more"] = next(iter(tree["state"]["tensors"].values()))


def turn(tree):
    name = max(tree["state"]["tensors"], key=lambda key: tree["state"]["tensors"][key].ndim)
    tree["state"]["tensors"][name] = tree["state"]["tensors"][name][:, :0]


def bands(tree):
    tree["state"]["n_net_bands"] = 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lose, "are not in the file, but have shape .* in the net"),
        (add, "'more' have shape .* in the file, but are not in the net"),
        (turn, "they must agree"),
        (bands, r"takes 1 band\(s\), but the file says 2"),
    ],
)
@pytest.mark.parametrize("kind", NETS)
def test_weights_that_do_not_fit_are_named(kind, change, words, path):
    forge(kind, path, change)
    with pytest.raises(ValueError, match=words):
        load(path)
    with pytest.raises(ValueError, match=f"cannot be used .*{words}"):
        type(NETS[kind])(weights=path).predict(X)


def test_a_file_asks_for_no_pretrained_backbone():
    from galaxysegment.nets.common._claims import without_downloads

    config = {
        "use_pretrained_backbone": True,
        "backbone_config": {"use_pretrained_backbone": True, "a": [{"b": 1}]},
    }
    told = json.loads(without_downloads({"config": json.dumps(config), "n_bands": 1})["config"])
    backbone = {"use_pretrained_backbone": False, "a": [{"b": 1}]}
    assert told == {"use_pretrained_backbone": False, "backbone_config": backbone}
    assert without_downloads({"n_bands": 1}) == {"n_bands": 1}

"""The registry of shipped nets agrees with the files."""

import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from galaxysegment import segmenters, separation
from galaxysegment._utils.shipped import _FOLDER, shipped_models


@pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.path.stem)
def test_every_entry_is_whole(model):
    assert model.is_intact(), (
        f"{model.path.name} has changed: write its new sha256 into models.json and raise its "
        "version"
    )
    assert "Where it fails" in model.card.read_text(encoding="utf-8")
    module = segmenters if model.estimator.endswith("Segmenter") else separation
    estimator = getattr(module, model.estimator)(weights=model.name)
    assert estimator.weights == model.name and model.summary and model.recipe
    assert model.path.name == f"{model.estimator}-{model.name}.safetensors"


@pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.path.stem)
def test_cards_are_what_hugging_face_reads(model):
    hub = pytest.importorskip("huggingface_hub", reason="it comes with transformers")
    card = hub.ModelCard.load(model.card)
    data = card.data
    assert (data.license, data.library_name) == ("bsd-3-clause", "galaxysegment")
    assert data.pipeline_tag in {"image-segmentation", "image-to-image"}
    assert {"astronomy", "galaxies", "safetensors"} <= set(data.tags)
    assert data.model_name == model.path.stem
    assert card.text.strip() == model.card_text().strip()
    assert card.text.lstrip().startswith(f"# {model.path.stem}\n")
    rows = [line for line in card.text.splitlines() if line.startswith("|")]
    assert len(data.eval_results) >= 4
    for result in data.eval_results:  # each value stands in a table of the card
        value = re.escape(f"{result.metric_value:g}".removeprefix("0"))
        assert any(re.search(rf"(?<![\d.]){value}0*(?!\d)", row) for row in rows), result


@pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.path.stem)
def test_no_weight_has_overflown(model):
    tensors = load_file(model.path)
    assert [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()] == []


def test_every_file_has_an_entry():
    assert {path.name for path in _FOLDER.glob("*.safetensors")} == {
        model.path.name for model in shipped_models()
    }


def test_nets_of_one_class():
    assert [model.name for model in shipped_models("UNetSegmenter")] == ["vis", "sky", "bands"]
    assert [model.name for model in shipped_models("MaskRCNNSegmenter")] == ["blends"]
    assert [model.name for model in shipped_models("UNetSeparator")] == ["blends"]
    assert shipped_models("DETRSegmenter") == []

"""The registry of shipped nets agrees with the files."""

import pytest

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


def test_every_file_has_an_entry():
    assert {path.name for path in _FOLDER.glob("*.safetensors")} == {
        model.path.name for model in shipped_models()
    }


def test_nets_of_one_class():
    assert [model.name for model in shipped_models("UNetSegmenter")] == ["vis"]
    assert [model.name for model in shipped_models("UNetSeparator")] == ["blends"]
    assert shipped_models("DETRSegmenter") == []

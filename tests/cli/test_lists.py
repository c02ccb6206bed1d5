"""`methods` and `models`: what is there, in words that can be typed back."""

import re

import pytest

from galaxysegment._utils.shipped import shipped_models
from galaxysegment.cli import main
from galaxysegment.cli._choose import find_methods, parse_value
from galaxysegment.cli._methods import parameter_texts


def test_methods_are_listed(capsys):
    assert main(["methods"]) == 0
    tables = capsys.readouterr().out.split("\n\n")
    row, separators = (
        {line.split()[0]: line for line in table.splitlines()} for table in tables[:2]
    )
    assert set(find_methods()) < set(row) and set(find_methods("separator")) < set(separators)
    assert "truth; ships blends" in separators["unet"] and "nothing " in separators["template"]
    assert {"detr", "kmeans", "maskrcnn", "photutils", "randomforest", "sep", "unet"} <= set(row)
    assert "truth; ships vis" in row["unet"] and "ships" not in row["detr"]
    assert "the image " in row["kmeans"] and "nothing " in row["photutils"]


@pytest.mark.parametrize("method", ["photutils", "sep", "kmeans", "unet", "detr", "randomforest"])
def test_parameters_are_listed_with_their_defaults(method, capsys):
    assert main(["methods", method]) == 0
    printed = capsys.readouterr().out.split("UNetSeparator: ")[0]
    segmenter = find_methods()[method]()()
    defaults = dict(re.findall(r"^  (\w+)=(.*)$", printed, re.MULTILINE))
    assert {name: parse_value(text) for name, text in defaults.items()} == segmenter.get_params()
    texts = parameter_texts(type(segmenter))
    assert set(texts) == set(defaults) and all(texts.values())
    assert f"--method {method} --set" in printed


def test_a_name_that_two_methods_share(capsys):
    assert main(["methods", "unet"]) == 0
    segmenter, separator = capsys.readouterr().out.split("UNetSeparator: ")
    assert segmenter.startswith("UNetSegmenter: ") and "--method unet --set" in segmenter
    assert "--separator unet --set-separator" in separator and "n_blends" in separator


def test_an_unknown_method(capsys):
    assert main(["methods", "magic"]) == 1
    assert "photutils" in capsys.readouterr().err


def test_models_are_listed(capsys):
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    for model in shipped_models():
        (line,) = (line for line in printed.splitlines() if line.endswith(model.summary))
        for part in (f"{model.name} ", model.estimator, model.version, model.sha256[:12]):
            assert part in line


@pytest.mark.parametrize("name", ["vis", "UNetSegmenter-vis"])
def test_the_card_of_a_model(name, capsys):
    assert main(["models", name]) == 0
    printed = capsys.readouterr().out
    assert "Where it fails" in printed and "(intact)" in printed and "sha256     " in printed
    assert "--method unet --set weights=vis" in printed
    assert "\n\n# UNetSegmenter-vis\n" in printed and "library_name" not in printed
    assert main(["models", "blends"]) == 0
    printed = capsys.readouterr().out  # two nets have this name
    assert "separate IMAGE --separator unet --set-separator" in printed
    assert "segment IMAGE --method maskrcnn --set weights=blends" in printed
    assert main(["models", "MaskRCNNSegmenter-blends"]) == 0
    assert "--separator" not in capsys.readouterr().out
    assert main(["models", "ir"]) == 1
    assert "choose from vis, sky, bands, blends." in capsys.readouterr().err


def test_a_damaged_model_is_said(monkeypatch, capsys, tmp_path):
    from dataclasses import replace

    from galaxysegment._utils import shipped

    damaged = tmp_path / "net.safetensors"
    damaged.write_bytes(b"0")
    models = [replace(model, path=damaged) for model in shipped_models()]
    monkeypatch.setattr(shipped, "shipped_models", lambda *_: models)
    assert main(["models", "vis"]) == 0
    assert "DAMAGED" in capsys.readouterr().out

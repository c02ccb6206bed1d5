"""Estimators of other packages, by their entry points."""

from importlib.metadata import EntryPoint

import pytest

from galaxysegment import KMeansSegmenter, PhotutilsSegmenter
from galaxysegment._utils import discovery
from galaxysegment._utils.discovery import all_estimators, persistent_class, persistent_name
from galaxysegment.cli import main
from galaxysegment.exceptions import UnusableEntryPointWarning
from galaxysegment.persistence import load, save


class Finder(KMeansSegmenter):
    """Pixels brighter than the others."""

    _in_model_files = True


class Shy(KMeansSegmenter):
    """A class that does not ask to be kept."""


Imitation = type("PhotutilsSegmenter", (KMeansSegmenter,), {"__module__": __name__})


class NoEstimator:
    """Nothing that predicts."""


@pytest.fixture
def added(monkeypatch):
    """Pretend that packages are installed that add estimators."""

    def add(**values):
        entries = [
            EntryPoint(name, value, "galaxysegment.segmenters") for name, value in values.items()
        ]
        monkeypatch.setattr(
            discovery,
            "entry_points",
            lambda group: entries if group == "galaxysegment.segmenters" else [],
        )

    monkeypatch.setitem(
        __import__("sys").modules, "otherpackage", __import__("sys").modules[__name__]
    )
    return add


def test_added_segmenters_are_found(added):
    added(finder="otherpackage:Finder")
    assert dict(all_estimators("segmenter"))["Finder"] is Finder
    assert dict(all_estimators())["Finder"] is Finder
    assert "Finder" not in dict(all_estimators("transformer"))


def test_a_kind_that_is_unknown():
    with pytest.raises(ValueError, match="kind must be one of"):
        all_estimators("net")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "nowhere_at_all:Finder",
            "cannot be imported.*ModuleNotFoundError.*uninstall that package",
        ),
        ("otherpackage:Missing", "cannot be imported.*AttributeError"),
        ("otherpackage:NoEstimator", "must be a class with get_params, fit, predict"),
        ("otherpackage:add", "cannot be imported"),
    ],
)
def test_a_broken_one_is_left_out_with_a_warning(added, capsys, value, message):
    added(broken=value, finder="otherpackage:Finder")
    with pytest.warns(UnusableEntryPointWarning, match=message):
        names = dict(all_estimators("segmenter"))
    assert "Finder" in names and "PhotutilsSegmenter" in names
    assert main(["methods"]) == 0
    assert "(cannot be used)" in capsys.readouterr().out
    assert main(["methods", "broken"]) == 1
    assert "of another package" in capsys.readouterr().err


def test_own_estimators_keep_their_names(added):
    added(photutils="otherpackage:Imitation")
    with pytest.warns(UnusableEntryPointWarning, match="has a class PhotutilsSegmenter too"):
        assert dict(all_estimators())["PhotutilsSegmenter"] is PhotutilsSegmenter
    from galaxysegment.cli._choose import find_method

    assert find_method("photutils") is PhotutilsSegmenter


def test_only_classes_that_ask_are_kept_in_model_files(added, monkeypatch, tmp_path):
    for member in (Finder, Shy):
        monkeypatch.setattr(member, "__module__", "otherpackage._finders")
    added(finder="otherpackage:Finder", shy="otherpackage:Shy")
    assert persistent_name(Finder) == "otherpackage.Finder" and persistent_name(Shy) is None
    assert persistent_class("otherpackage.Finder") is Finder
    assert persistent_class("otherpackage.Shy") is None is persistent_class("Finder")
    save(Finder(n_clusters=3), tmp_path / "finder.safetensors")
    assert type(load(tmp_path / "finder.safetensors")) is Finder
    with pytest.raises(TypeError, match="_in_model_files = True"):
        save(Shy(), tmp_path / "shy.safetensors")
    added()
    with pytest.raises(ValueError, match="is the package otherpackage installed"):
        load(tmp_path / "finder.safetensors")

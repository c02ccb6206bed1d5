"""Every public function that takes an array or a file has a property test."""

import ast
from pathlib import Path

import pytest
from properties import public_names

from galaxysegment import exceptions
from galaxysegment._utils.discovery import all_estimators

# What takes neither an array nor a file, each with what it takes instead.
TAKES_NEITHER = {
    "base.BaseImageTransformer": "a base class: its subclasses are covered",
    "base.BaseSegmenter": "a base class: its subclasses are covered",
    "base.MosaicAware": "a base class: its subclasses are covered",
    "base.ProbabilisticSegmenter": "a base class: its subclasses are covered",
    "base.SemanticSegmenter": "a base class: its subclasses are covered",
    "base.Statistic": "a base class: its subclasses are covered",
    "catalog.CatalogFlags": "the bits of a number",
    "catalog.Cutout": "a result",
    "catalog.Cutouts": "a result",
    "catalog.ab_zero_point": "a header",
    "datasets.load_sample_field": "nothing",
    "datasets.make_blends": "numbers",
    "datasets.make_field": "numbers",
    "datasets.make_sky": "numbers",
    "datasets.stream_skies": "numbers",
    "export.to_onnx": "an estimator",
    "metrics.CocoSummary": "a result",
    "metrics.DetectionScores": "a result",
    "metrics.FractionCurve": "a result",
    "metrics.PanopticQuality": "a result",
    "metrics.Quality": "a result",
    "metrics.ReliabilityCurve": "a result",
    "metrics.scorer_names": "nothing",
    "mosaic.TileError": "an exception",
    "preprocessing.make_variant": "a name",
    "separation.BaseSeparator": "a base class: its subclasses are covered",
    "structures.ARTEFACT": "a number",
    "structures.CIRRUS": "a number",
    "structures.CLASS_NAMES": "a table",
    "structures.DIFFUSE": "a number",
    "structures.GALAXY": "a number",
    "structures.NoSourcesWarning": "a warning",
    "structures.SKY": "a number",
    "structures.STAR": "a number",
    "structures.STUFF": "a list",
    "structures.THINGS": "a list",
    "structures.TRAIL": "a number",
    "structures.VOID": "a number",
    "testing.EXTRA_CHECKS": "a list",
    "testing.REPLACED_CHECKS": "a table",
    "testing.expected_failed_checks": "an estimator",
    "testing.make_images": "numbers",
    **{f"exceptions.{name}": "a warning" for name in exceptions.__all__},
}


def decorators(function):
    for node in function.decorator_list:
        call = node.func if isinstance(node, ast.Call) else node
        yield call.id if isinstance(call, ast.Name) else getattr(call, "attr", ""), node


def covered_names():
    """Names in the ``covers`` of tests that draw their input with hypothesis."""
    for path in Path(__file__).parent.glob("test_properties_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
                decorated = dict(decorators(node))
                if "covers" in decorated and "given" in decorated:
                    yield from (argument.value for argument in decorated["covers"].args)


def resolve(names):
    """Replace the two names that stand for all transformers or segmenters."""
    for name in names:
        if name in ("every transformer", "every segmenter"):
            module = "preprocessing" if name == "every transformer" else "segmenters"
            yield from (
                f"{module}.{class_name}"
                for class_name, _ in all_estimators(name.removeprefix("every "))
            )
        else:
            yield name


COVERED = set(resolve(covered_names()))
NAMES = sorted(public_names())


@pytest.mark.parametrize("name", NAMES)
def test_a_property_test_is_there(name):
    assert name in COVERED or name in TAKES_NEITHER, (
        f"{name} has no property test: write one with covers({name!r})"
    )


def test_nothing_is_listed_that_is_not_there():
    assert set(TAKES_NEITHER) <= set(NAMES)
    assert set(NAMES) >= COVERED
    assert not COVERED & set(TAKES_NEITHER)
    assert len(COVERED) > 50

"""Every warning of the package has a public class of its own."""

import ast
from pathlib import Path

import pytest

import galaxysegment
from galaxysegment import exceptions
from galaxysegment.exceptions import GalaxySegmentWarning

PACKAGE = Path(galaxysegment.__file__).parent


def calls_of_warn(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "warn":
            yield node


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_class_is_a_user_warning_of_the_package(name):
    assert issubclass(getattr(exceptions, name), GalaxySegmentWarning)
    assert issubclass(getattr(exceptions, name), UserWarning)


def test_old_names_stay():
    from galaxysegment.structures import NoSourcesWarning

    assert galaxysegment.NoSourcesWarning is NoSourcesWarning is exceptions.NoSourcesWarning


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_every_warning_names_its_class(path):
    for call in calls_of_warn(ast.parse(path.read_text())):
        category = call.args[1] if len(call.args) > 1 else None
        assert isinstance(category, ast.Name), f"{path.name}:{call.lineno} names no class"
        assert category.id in exceptions.__all__, f"{path.name}:{call.lineno}: {category.id}"

"""The public surface has types: a type checker accepts a good program and finds mistakes."""

import inspect
import os
import re
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import get_overloads

import numpy as np
import pytest

import galaxysegment

MODULES = list(galaxysegment._SUBMODULES)
ROOT = Path(galaxysegment.__file__).parents[1]
PROGRAMS = Path(__file__).parent / "typing"


def public_callables():
    """Yield every public function, constructor, method and property that this package defines."""
    for module_name in MODULES:
        module = import_module(f"galaxysegment.{module_name}")
        for name in getattr(module, "__all__", []):
            member = getattr(module, name)
            if inspect.isfunction(member):
                yield pytest.param(member, id=f"{module_name}.{name}")
            elif inspect.isclass(member):
                for method_name, method in own_methods(member):
                    yield pytest.param(method, id=f"{module_name}.{name}.{method_name}")


def own_methods(cls):
    for name, attribute in vars(cls).items():
        function = (
            attribute.fget
            if isinstance(attribute, property)
            else getattr(attribute, "__func__", attribute)
        )
        if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
            yield name, function


@pytest.mark.parametrize("function", list(public_callables()))
def test_everything_public_has_types(function):
    for form in get_overloads(inspect.unwrap(function)) or [function]:
        signature = inspect.signature(form)
        untyped = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.annotation is parameter.empty and parameter.name not in {"self", "cls"}
        ]
        assert not untyped
        assert signature.return_annotation is not signature.empty or form.__name__ == "__init__"


def test_the_package_says_that_it_has_types():
    assert (ROOT / "galaxysegment" / "py.typed").is_file()


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """Run mypy as a user does, who has the package installed, and return what it says."""
    pytest.importorskip("mypy", reason="mypy is not installed: it comes with the extra 'test'")
    from mypy import api

    if (
        int(metadata.version("mypy").split(".")[0]) < 2
        or np.lib.NumpyVersion(np.__version__) < "2.2.0"
    ):
        pytest.skip("the types of NumPy before 2.2, and mypy before 2, say less")
    cache = tmp_path_factory.mktemp("mypy")

    def run(*arguments):
        said, failed, _ = api.run(
            [f"--cache-dir={cache}", f"--python-executable={sys.executable}", *arguments]
        )
        assert not failed, failed
        return said

    return run


@pytest.fixture
def strictly(mypy, monkeypatch):
    monkeypatch.setenv("MYPYPATH", os.fspath(ROOT))
    return lambda program: mypy(
        "--strict", "--follow-imports=silent", "--config-file=", os.fspath(PROGRAMS / program)
    )


def test_a_program_passes_the_strict_checker(strictly):
    assert strictly("sample.py").startswith("Success")


def test_the_checker_finds_mistakes(strictly):
    said = strictly("wrong.py")
    mistakes = {
        int(line): code
        for line, code in re.findall(r"wrong\.py:(\d+): error: .*\[([\w-]+)\]", said)
    }
    lines = (PROGRAMS / "wrong.py").read_text(encoding="utf-8").splitlines()
    expected = {
        number: line.split("# error: ")[1]
        for number, line in enumerate(lines, start=1)
        if "# error: " in line
    }
    assert mistakes == expected


def test_the_package_itself_passes(mypy):
    config = ROOT / "pyproject.toml"
    if not config.is_file():
        pytest.skip("the configuration of mypy is in the source tree only")
    said = mypy(f"--config-file={config}", os.fspath(ROOT / "galaxysegment"))
    assert said.startswith("Success"), said

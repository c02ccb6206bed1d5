"""Every public name says what it takes, in numpydoc, and the words agree with the signature."""

import inspect
from enum import Enum
from importlib import import_module

import pytest
from numpydoc.docscrape import NumpyDocString

import galaxysegment
from galaxysegment._utils.discovery import all_estimators

MODULES = list(galaxysegment._SUBMODULES)


def public_names():
    for module_name in MODULES:
        module = import_module(f"galaxysegment.{module_name}")
        for name in getattr(module, "__all__", []):
            member = getattr(module, name)
            if inspect.isclass(member) or inspect.isfunction(member):
                yield pytest.param(member, id=f"{module_name}.{name}")


def documented(docstring):
    return [
        name.lstrip("*") for entry in docstring["Parameters"] for name in entry.name.split(", ")
    ]


def signature_names(member):
    if inspect.isclass(member) and issubclass(member, BaseException | Enum):
        return []
    return [name for name in inspect.signature(member).parameters if name != "self"]


@pytest.mark.parametrize("member", list(public_names()))
def test_parameters_are_documented(member):
    docstring = NumpyDocString(inspect.getdoc(member) or "")
    assert docstring["Summary"], "no docstring"
    assert documented(docstring) == signature_names(member)
    if inspect.isfunction(member) and member.__module__ != "galaxysegment.testing":
        # A check returns nothing; everything else says what comes back.
        returns = docstring["Returns"] or docstring["Yields"]
        assert returns or "return" not in inspect.getsource(member)


def methods():
    for module_name in MODULES:
        module = import_module(f"galaxysegment.{module_name}")
        for name in getattr(module, "__all__", []):
            member = getattr(module, name)
            if not inspect.isclass(member):
                continue
            for method_name, bound in vars(member).items():
                method = getattr(bound, "__func__", bound)
                if not method_name.startswith("_") and inspect.isfunction(method):
                    yield pytest.param(method, id=f"{name}.{method_name}")


@pytest.mark.parametrize("method", list(methods()))
def test_methods_are_documented(method):
    docstring = NumpyDocString(inspect.getdoc(method) or "")
    assert docstring["Summary"], "no docstring"
    names = [name for name in signature_names(method) if name not in ("cls",)]
    if docstring["Parameters"]:
        assert documented(docstring) == names


@pytest.mark.parametrize(("name", "estimator"), all_estimators())
def test_estimators_show_an_example(name, estimator):
    docstring = inspect.getdoc(estimator)
    assert ">>>" in docstring, f"{name} shows no example"
    assert all(parameter in docstring for parameter in estimator().get_params())

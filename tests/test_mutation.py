"""The tool that plants bugs: what it changes, what it spares, and how it counts killed bugs."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mutation():
    spec = importlib.util.spec_from_file_location("mutation", ROOT / "benchmarks" / "mutation.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutation"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mutation"]


SOURCE = '''
"""Docstring: 1 < 2."""

__all__ = ["clip"]
LIMIT = 3


def clip(value: int = 5, *, wide: bool = True) -> int:
    """Docstring with 7."""
    if value < LIMIT or not wide:
        raise ValueError(f"value is {value + 1}")
    return max(value, -LIMIT)
'''


def changes(mutation, source):
    finder = mutation._Finder("file.py", source)
    finder.visit(mutation.ast.parse(source))
    return finder.mutants


def test_code_is_changed_and_words_are_not(mutation):
    found = {(mutant.function, mutant.after) for mutant in changes(mutation, SOURCE)}
    assert found == {
        ("module", "4"),
        ("clip", "6"),
        ("clip", "False"),
        ("clip", "value <= LIMIT"),
        ("clip", "value < LIMIT and (not wide)"),
        ("clip", "wide"),
        ("clip", "pass"),
        ("clip", "min"),
        ("clip", "LIMIT"),
    }


def test_a_mutant_is_put_in_its_place(mutation):
    raw = SOURCE.encode()
    for mutant in changes(mutation, SOURCE):
        start, stop = mutant.span
        text = (raw[:start] + mutant.text.encode() + raw[stop:]).decode()
        before, after = SOURCE.splitlines(), text.splitlines()
        assert len(before) == len(after)
        changed = [
            k for k, pair in enumerate(zip(before, after, strict=True), 1) if len({*pair}) > 1
        ]
        assert changed and mutant.lines[0] <= changed[0] <= mutant.lines[1]
        compile(text, "file.py", "exec")


def test_equal_changes_of_one_statement_are_told_apart(mutation):
    keys = [mutation._key(mutant) for mutant in changes(mutation, "x = 2 + 2 + 2\n")]
    assert len(keys) == len(set(keys)) == 5


@pytest.mark.parametrize(("test", "outcome"), [("f(2) == 3", "killed"), ("f(2) > 2", "survived")])
def test_a_bug_is_killed_or_survives(mutation, tmp_path, test, outcome):
    (tmp_path / "code.py").write_text("def f(x):\n    return x + 1\n")
    (tmp_path / "test_code.py").write_text(
        f"from code_under_test import f\ndef test_f():\n    assert {test}\n"
    )
    (tmp_path / "code.py").rename(tmp_path / "code_under_test.py")
    (tmp_path / "conftest.py").write_text(
        'from hypothesis import settings\nsettings.register_profile("suite")\n'
    )
    source = (tmp_path / "code_under_test.py").read_text()
    finder = mutation._Finder("code_under_test.py", source)
    finder.visit(mutation.ast.parse(source))
    (mutant,) = [mutant for mutant in finder.mutants if mutant.after == "2"]
    name = "test_code.py::test_f"
    found = mutation.try_mutant(tmp_path, mutant, {name: 0.1}, {"code_under_test.py": {2: [name]}})
    assert found == (outcome, name if outcome == "killed" else None)
    assert (tmp_path / "code_under_test.py").read_text() == source


def test_every_equivalent_has_a_reason(mutation):
    assert all(len(reason) > 20 for reason in mutation.read_equivalents().values())

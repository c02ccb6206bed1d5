"""The tool that plants bugs: what it changes, what it spares, and how it counts killed bugs."""

import dataclasses

import pytest

from benchmarks import mutation
from benchmarks.mutants import find_mutants

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


def test_code_is_changed_and_words_are_not():
    changed = {(mutant.function, mutant.after) for mutant in find_mutants("file.py", SOURCE)}
    assert changed == {
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


def test_a_mutant_is_put_in_its_place():
    raw = SOURCE.encode()
    for mutant in find_mutants("file.py", SOURCE):
        start, stop = mutant.span
        text = (raw[:start] + mutant.text.encode() + raw[stop:]).decode()
        before, after = SOURCE.splitlines(), text.splitlines()
        assert len(before) == len(after)
        changed = [
            k for k, pair in enumerate(zip(before, after, strict=True), 1) if len({*pair}) > 1
        ]
        assert changed and mutant.lines[0] <= changed[0] <= mutant.lines[1]
        compile(text, "file.py", "exec")


def test_equal_changes_of_one_statement_are_told_apart():
    keys = [mutant.key for mutant in find_mutants("file.py", "x = 2 + 2 + 2\n")]
    assert len(keys) == len(set(keys)) == 5


def plus_two(folder):
    """The mutant of ``x + 1`` that adds 2, and its file."""
    (folder / "code_under_test.py").write_text("def f(x):\n    return x + 1\n")
    mutants = find_mutants("code_under_test.py", "def f(x):\n    return x + 1\n")
    return next(mutant for mutant in mutants if mutant.after == "2")


@pytest.mark.parametrize(("control", "outcome"), [([0, None], "slow"), (None, "survived")])
def test_a_time_limit_kills_only_if_the_code_without_the_bug_keeps_it(
    tmp_path, monkeypatch, control, outcome
):
    mutant, seen, answers = plus_two(tmp_path), [], [None, control]
    code = tmp_path / "code_under_test.py"
    before = code.stat().st_mtime_ns

    def in_fork(_work, _limit):
        seen.append((code.read_text(), code.stat().st_mtime_ns == before))
        return answers.pop(0)

    monkeypatch.setattr(mutation, "_in_fork", in_fork)
    assert mutation.try_mutant(tmp_path, mutant, {"test.py::a": 1}, {}) == (outcome, None)
    source = "def f(x):\n    return x + 1\n"
    assert seen == [(source.replace("1", "(2)"), False), (source, True)]


def test_what_killed_before_runs_first(tmp_path):
    mutant = plus_two(tmp_path)
    seconds = {"slow": 9, "fast": 1, "of_file": 5, "of_function": 100, "elsewhere": 2}
    lines = {"code_under_test.py": {2: ["slow", "fast", "of_file", "of_function"]}}
    elsewhere = dataclasses.replace(mutant, function="g")
    kills = [(elsewhere, "of_file"), (elsewhere, "of_file"), (mutant, "of_function")]
    chosen = mutation.choose_tests(mutant, seconds, lines, kills)
    assert chosen == ["of_function", "of_file", "fast", "slow"]
    assert mutation.choose_tests(mutant, seconds, lines) == [
        "fast",
        "of_file",
        "slow",
        "of_function",
    ]


def test_all_chosen_tests_run_in_pieces():
    tests = [str(number) for number in range(400)]
    batches = [*mutation._batches(tests)]
    assert [test for batch in batches for test in batch] == tests
    assert [len(batch) for batch in batches] == [30, 150, 220]


@pytest.mark.parametrize(("test", "outcome"), [("f(2) == 3", "killed"), ("f(2) > 2", "survived")])
def test_a_bug_is_killed_or_survives(tmp_path, test, outcome):
    mutant = plus_two(tmp_path)
    source = (tmp_path / "code_under_test.py").read_text()
    (tmp_path / "test_code.py").write_text(
        f"from code_under_test import f\ndef test_f():\n    assert {test}\n"
    )
    (tmp_path / "conftest.py").write_text(
        'from hypothesis import settings\nsettings.register_profile("suite")\n'
    )
    name = "test_code.py::test_f"
    # Five times the seconds of the test are its time limit, which a loaded machine must not reach.
    fate = mutation.try_mutant(tmp_path, mutant, {name: 20}, {"code_under_test.py": {2: [name]}})
    assert fate == (outcome, name if outcome == "killed" else None)
    assert (tmp_path / "code_under_test.py").read_text() == source


def test_every_equivalent_has_a_reason():
    assert all(len(reason) > 20 for reason in mutation.read_equivalents().values())

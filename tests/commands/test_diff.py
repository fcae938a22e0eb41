"""`bnexp diff`: what two runs do not share, and nothing else."""

import csv
import io
import json

import pytest
from synthetic_runs import config, leave_run

from bnexp import cli

WHERE = {
    "versions": {"torch": "2.11.0", "numpy": "2.0"},
    "git_commit": "abc",
    "git_dirty": False,
    "device": "cpu",
    "threads": 2,
    "command": "bnexp train",
}


@pytest.fixture
def two(folder):
    """Runs that differ in the norm, torch's version, the commit and the accuracy."""
    root = folder / "runs" / "x"
    leave_run(root / "a", config(), accuracy_test=0.75, seconds=2.0, parameters=10, **WHERE)
    changed = WHERE | {"versions": {"torch": "2.12.0", "numpy": "2.0"}, "git_commit": "def"}
    leave_run(root / "b", config("none"), accuracy_test=0.5, seconds=2.0, parameters=10, **changed)
    return root


def diff(capsys, *words, code=0):
    capsys.readouterr()
    assert cli.run(["diff", *words]) == code
    return capsys.readouterr()


def test_every_difference_is_a_row_and_nothing_else(two, capsys):
    found = json.loads(diff(capsys, "a", "b", "--json").out)
    assert [tuple(row.values()) for row in found] == [
        ("configuration", "choices.norm", "custom", "none", None),
        ("configuration", "choices.head_norm", "custom", "none", None),
        (
            "configuration",
            "norm._target_",
            "bnexp.norms.custom.CustomNorm",
            "bnexp.norms.none.identity",
            None,
        ),
        ("configuration", "norm.eps", 1e-5, None, None),
        ("configuration", "norm.momentum", 0.1, None, None),
        (
            "configuration",
            "head_norm._target_",
            "bnexp.norms.custom.CustomNorm",
            "bnexp.norms.none.identity",
            None,
        ),
        ("configuration", "head_norm.eps", 1e-5, None, None),
        ("configuration", "head_norm.momentum", 0.1, None, None),
        ("versions", "torch", "2.11.0", "2.12.0", None),
        ("code and machine", "git_commit", "abc", "def", None),
        ("metrics", "accuracy/test", 0.75, 0.5, -0.25),
    ]
    assert list(found[0]) == ["part", "key", "A", "B", "B - A"]


def test_the_tables_name_both_runs_and_their_difference(two, capsys):
    text = diff(capsys, "x/a", str(two / "b")).out
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[:3] == ["A runs/x/a", f"B {two / 'b'}", "11 differences"]
    assert "norm.eps 1e-05 -" in lines and "accuracy/test 0.75 0.5 -0.25" in lines
    parts = ["configuration", "versions", "code and machine", "metrics"]
    assert [line for line in lines if line in parts] == parts


def test_csv(two, capsys):
    found = list(csv.DictReader(io.StringIO(diff(capsys, "a", "b", "--csv", "-").out)))
    assert found[-1] == {"part": "metrics", "key": "accuracy/test", "A": "0.75", "B": "0.5", "B - A": "-0.25"}
    assert len(found) == 11 and diff(capsys, "a", "a", "--csv", "-").out == ""


def test_a_run_and_itself_are_the_same_computation(two, capsys):
    assert json.loads(diff(capsys, "a", "a", "--json").out) == []
    assert diff(capsys, "a", "a").out.splitlines()[2:] == ["the same computation"]


def test_the_same_computation_on_two_machines(two, capsys):
    leave_run(two / "c", config(telemetry={}), accuracy_test=0.7500001, seconds=4.0, parameters=10, **WHERE)
    text = diff(capsys, "a", "c").out
    assert "the same computation" in text and "telemetry.scalars_every" in text and "+1e-07" in text


def test_one_difference_is_no_differences(two, capsys):
    leave_run(two / "c", config(seed=1), accuracy_test=0.75, seconds=2.0, parameters=10, **WHERE)
    assert diff(capsys, "a", "c").out.splitlines()[2] == "1 difference"
    assert "+1" in diff(capsys, "a", "c").out


def test_null_booleans_lists_and_brackets(two, capsys):
    leave_run(two / "c", config(clip=None, weights="[red]x[/red]", layers=["*"], fused=True), **WHERE)
    leave_run(two / "d", config(clip=True, weights=None, layers=["a"], fused=False), **WHERE)
    found = {row["key"]: row for row in json.loads(diff(capsys, "c", "d", "--json").out)}
    assert found["fused"]["B - A"] is None and found["clip"] == {
        "part": "configuration", "key": "clip", "A": None, "B": True, "B - A": None,
    }  # fmt: skip
    text = diff(capsys, "c", "d").out
    assert "[red]x[/red]" in text and "null" in text and "['*']" in text


def test_numbers_that_are_not_finite_do_not_differ_from_themselves(two, capsys):
    for name in "cd":
        run = leave_run(two / name, config())
        run.result_file.write_text('{"status": "diverged", "loss/test": NaN, "versions": [1]}')
    assert json.loads(diff(capsys, "c", "d", "--json").out) == []


def test_a_run_without_a_result_is_compared_by_what_it_has(two, capsys):
    leave_run(two / "c", config())
    found = {row["key"]: (row["A"], row["B"]) for row in json.loads(diff(capsys, "a", "c", "--json").out)}
    assert found["status"] == ("finished", "interrupted") and found["accuracy/test"] == (0.75, None)
    assert found["torch"] == ("2.11.0", None) and not any(key.startswith("norm") for key in found)


@pytest.mark.parametrize(
    "words, told",
    [
        (["a", "x"], "diff compares two runs, x means 2: name one"),
        (["norm=group", "a"], "norm=group means 0"),
        (["a", "missing"], "no run 'missing' among the 2"),
        (["a", "broken"], "config.yaml cannot be read"),
    ],
)
def test_a_mistake_is_one_line(two, capsys, words, told):
    if "broken" in words:
        leave_run(two / "broken", config()).config_file.write_text("norm: [")
    printed = diff(capsys, *words, code=2)
    assert printed.out == "" and told in printed.err and len(printed.err.splitlines()) == 1


def test_filters_and_last_may_mean_a_run(two, capsys):
    assert json.loads(diff(capsys, "norm=custom", "norm=none", "--json").out) == json.loads(
        diff(capsys, "a", "b", "--json").out
    )

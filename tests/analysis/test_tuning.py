"""Each configuration at its own best values: chosen on validation, by the mean over seeds."""

import pytest
from synthetic_runs import OURS, config

from bnexp.analysis.records import Record
from bnexp.analysis.tuning import tuned
from bnexp.errors import ConfigError
from bnexp.runs.directory import RunDirectory

VALIDATION = {
    ("custom", 0.1): (0.90, 0.92),
    ("custom", 1.0): (0.95, 0.85),  # has the best run, and the lower mean
    ("none", 0.01): (0.60, 0.70),
    ("none", 0.1): (0.70, 0.80),
    ("none", 1.0): (0.99, None),  # the other seed diverged
}


def record(norm, lr, seed, value, **changed):
    status = "finished" if value is not None else "diverged"
    # the test split would choose otherwise
    found = {"accuracy/val": value, "accuracy/test": None if value is None else 1 - value}
    return Record(RunDirectory("x"), status, 0.0, config(norm, optimizer__lr=lr, seed=seed, **changed), found)


@pytest.fixture
def records():
    return [
        record(*key, seed, value) for key, values in VALIDATION.items() for seed, value in enumerate(values)
    ]


def test_the_best_mean_on_validation_is_chosen_for_each_configuration(records):
    found = tuned(records, ["optimizer.lr"])
    chosen = [(one.value("norm"), one.value("optimizer.lr"), one.value("seed")) for one in found.records]
    assert chosen == [("custom", 0.1, 0), ("custom", 0.1, 1), ("none", 0.1, 0), ("none", 0.1, 1)]


def test_unequal_chances_and_values_at_the_edge_are_said(records):
    first, unequal, edge = tuned(records, ["optimizer.lr"]).notes
    assert first == (
        "optimizer.lr: of 2 to 3 values each, those with the highest mean validation accuracy over seeds"
    )
    assert unequal == f"unequal chances: numbers of values of optimizer.lr differ ({OURS} 2, no norm 3)"
    assert edge == f"optimizer.lr: the best value is the smallest or the largest there is for {OURS}"


def test_several_keys_are_chosen_together():
    values = {(0.1, 8): 0.5, (0.1, 64): 0.6, (1.0, 8): 0.9, (1.0, 64): 0.1}
    records = [record("custom", lr, 0, value, batch_size=size) for (lr, size), value in values.items()]
    (chosen,) = tuned(records, ["optimizer.lr", "batch_size"]).records
    assert (chosen.value("optimizer.lr"), chosen.value("batch_size")) == (1.0, 8)


def test_what_diverged_with_every_value_stays_in_the_table():
    records = [record("custom", lr, 0, None) for lr in (1.0, 2.0)] + [record("none", 1.0, 0, 0.5)]
    assert [one.value("norm") for one in tuned(records, ["optimizer.lr"]).records] == ["custom", "none"]


@pytest.mark.parametrize(
    "keys, by, told",
    [
        (["optimizer.rl"], "accuracy/val", r"--best-of optimizer.rl: no run has this key \(did you mean"),
        (
            ["optimizer.lr"],
            "accuracy/test",
            "--by must be a validation metric .* never one of the test split",
        ),
        (["optimizer.lr"], "seconds", "--by must be a validation metric"),
        (["optimizer.lr"], "top5/val", "--by top5/val: no run has it; train with data.val_fraction above 0"),
    ],
)
def test_a_mistake_is_one_line(records, keys, by, told):
    with pytest.raises(ConfigError, match=told):
        tuned(records, keys, by)

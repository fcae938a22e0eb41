"""Whole runs on the digits with ghost batches, guards and frozen norms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from whole_runs import Train, assert_same, assert_same_run, ready, resume

from bnexp.engine.fit import Plan
from bnexp.errors import ConfigError
from bnexp.experiment import run as experiment

SHORT = ("steps=8", "data.train_size=200", "schedule=constant", "optimizer.weight_decay=0.1")
# The first norm's input is finite, its squares are not: the variance overflows, the loss stays finite.
OVERFLOW = (
    "steps=8",
    "init=normal",
    "init.std=1e20",
    "optimizer.lr=1e-30",
    "head_norm=none",
    "telemetry=none",
)


def norms(state: dict[str, torch.Tensor], *endings: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if ".norm." in name and name.endswith(endings)}


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
AFFINE = ("norm.weight", "norm.bias")


@pytest.mark.parametrize("norm", ["custom", "builtin"])
def test_ghost_batches_train_and_count_one_update_a_step(train: Train, norm: str) -> None:
    words = ("steps=8", "data.train_size=400", "batch_size=64", f"norm={norm}")
    ran, plain = train(*words, "norm_batch=8"), train(*words)
    assert ran.result["status"] == "finished" and math.isfinite(ran.result["loss/test"])
    assert ran.path.name.startswith(f"{norm}-b64-nb8-lenet")
    state, other = ran.last["model"], plain.last["model"]
    assert state.keys() == other.keys()
    assert state["conv1.norm.num_batches_tracked"] == 8
    assert not torch.equal(state["conv1.norm.running_var"], other["conv1.norm.running_var"])
    assert ran.result["config_hash"] != plain.result["config_hash"]


def test_a_norm_batch_of_the_whole_batch_is_the_plain_run(train: Train, settled: Train) -> None:
    plain, wide = settled(*SHORT), train(*SHORT, "norm_batch=4000")
    assert_same_run(wide, plain)
    assert "-nb" not in wide.path.name


def test_ghost_batches_resume_bit_for_bit(train: Train, settled: Train) -> None:
    words = (*SHORT, "norm_batch=4", "guard=skip")
    halted = train(*words, stop_after=3)
    assert_same_run(resume(halted), settled(*words))


def test_a_guard_leaves_a_finite_run_as_it_is(train: Train, settled: Train) -> None:
    plain = settled(*SHORT)
    for guard in ("skip", "stop"):
        assert_same(train(*SHORT, f"guard={guard}").timeless_last(), plain.timeless_last())


def test_values_per_channel_are_those_of_a_ghost_batch(tmp_path: Path) -> None:
    with ready(tmp_path, "batch_size=16", "norm_batch=4") as prepared:
        values = {site.name: site.values_per_channel(16) for site in prepared.parts.sites}
    assert values["conv1.norm"] == 4 * 28 * 28
    assert values["dense1.norm"] == 4


def test_ghosts_of_one_example_are_refused_where_a_channel_has_one_value(tmp_path: Path) -> None:
    said = "norm_batch=1 gives dense1.norm, dense2.norm one value per channel"
    with pytest.raises(ConfigError, match=said), ready(tmp_path, "norm_batch=1"):
        pass
    with ready(tmp_path, "norm_batch=1", "head_norm=none") as prepared:
        assert prepared.notes == []


@pytest.mark.parametrize(
    ("guard", "status"), [("none", "diverged"), ("skip", "finished"), ("stop", "diverged")]
)
@pytest.mark.parametrize("norm", ["custom", "builtin"])
def test_an_overflow_is_found_late_or_skipped_or_ends_the_run(
    train: Train, norm: str, guard: str, status: str
) -> None:
    ran = train(*OVERFLOW, f"norm={norm}", f"guard={guard}")
    assert ran.result["status"] == status
    if guard == "skip":
        running = norms(ran.last["model"], "running_var", "num_batches_tracked")
        assert running["conv1.norm.num_batches_tracked"] == 0
        assert torch.equal(running["conv1.norm.running_var"], torch.ones(6))
    else:
        found = ran.result["diverged"]
        assert found["origin"] == "conv1.norm.running_var at step 0"
        assert found["last_step"] == (0 if guard == "stop" else 6)
        assert ran.result["step"] == found["last_step"]


def test_an_accelerator_stops_at_its_next_look(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the CPU is told to behave like an accelerator: losses are not read step by step."""
    monkeypatch.setattr(experiment, "Plan", lambda **knobs: Plan(**{**knobs, "loss_on_host": False}))
    ran = train(*OVERFLOW, "guard=stop", "check_every=3")
    assert ran.result["diverged"]["origin"] == "conv1.norm.running_var at step 0"
    assert ran.result["diverged"]["last_step"] == 3


@pytest.mark.parametrize("what", ["statistics", "affine", "both"])
@pytest.mark.parametrize("after", ["3", "0.375"])
def test_frozen_norms_stay_as_they_were_at_that_step(
    train: Train, settled: Train, what: str, after: str
) -> None:
    ran = train(*SHORT, f"freeze_norm.after={after}", f"freeze_norm.what={what}")
    frozen = {"statistics": STATISTICS, "affine": AFFINE, "both": (*STATISTICS, *AFFINE)}[what]
    free = [ending for ending in (*STATISTICS, *AFFINE) if ending not in frozen]
    state, then, never = (run.last["model"] for run in (ran, settled("steps=3", *SHORT[1:]), settled(*SHORT)))
    assert_same(norms(state, *frozen), norms(then, *frozen))
    assert not any(torch.equal(never[name], value) for name, value in norms(state, *frozen).items())
    for name, value in norms(state, *free).items():
        assert not torch.equal(value, then[name]), name
    assert f"freeze-{what}-{after}" in ran.path.name


@pytest.mark.parametrize("halt", [2, 3, 5])
def test_a_frozen_run_resumes_bit_for_bit(train: Train, settled: Train, halt: int) -> None:
    words = (*SHORT, "freeze_norm.after=3")
    assert_same_run(resume(train(*words, stop_after=halt)), settled(*words))


def test_fine_tuning_keeps_the_norms_of_the_weights(train: Train, settled: Train) -> None:
    start = settled(*SHORT)
    ran = train(*SHORT, f"weights={start.path}", "freeze_norm.after=0", "norm_batch=4")
    given, state = start.best["model"], ran.last["model"]
    assert_same(norms(state, *STATISTICS, *AFFINE), norms(given, *STATISTICS, *AFFINE))
    assert not torch.equal(state["conv1.linear.weight"], given["conv1.linear.weight"])


def test_frozen_statistics_allow_single_examples(tmp_path: Path) -> None:
    with ready(tmp_path, "batch_size=1", "freeze_norm.after=0") as prepared:
        assert prepared.notes == [
            "freeze_norm.after=0 without weights=RUN freezes the initial statistics, mean 0 and variance 1"
        ]


@pytest.mark.parametrize(
    ("words", "notes"),
    [
        (("guard=skip", "norm=group"), ["guard has no effect: no norm of this run keeps running statistics"]),
        (
            ("freeze_norm.after=1", "freeze_norm.what=statistics", "norm=group"),
            ["freeze_norm has no effect: no norm of this run keeps running statistics"],
        ),
        (
            ("freeze_norm.after=1", "norm=group"),
            ["freeze_norm freezes weights and biases alone: no norm of this run keeps running statistics"],
        ),
        (("freeze_norm.after=1", "norm=none"), ["freeze_norm has no effect: nothing to freeze"]),
        (
            ("freeze_norm.after=99", "steps=9"),
            ["freeze_norm has no effect: the run ends at step 9, before step 99"],
        ),
        (("norm_batch=32",), ["norm_batch=32 has no effect: a forward pass has 16 examples"]),
        (
            ("norm_batch=8", "norm=group"),
            ["norm_batch has no effect: no norm of this run measures the batch"],
        ),
        (("norm_batch=16",), []),
        (("norm_batch=8", "guard=stop", "freeze_norm.after=0.5"), []),
    ],
    ids=str,
)
def test_an_option_without_effect_is_noted(tmp_path: Path, words: tuple[str, ...], notes: list[str]) -> None:
    with ready(tmp_path, *words) as prepared:
        assert prepared.notes == notes


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("norm_batch=0", "norm_batch must be at least 1, got 0"),
        ("guard=halt", "guard must be one of none, skip, stop, got 'halt'"),
        ("freeze_norm.what=all", "freeze_norm.what must be one of statistics, affine, both, got 'all'"),
        (
            "freeze_norm.after=-1",
            "freeze_norm.after must be a step (0 or more), a fraction of the run in (0, 1) or null, got -1",
        ),
        (
            "freeze_norm.after=1.0",
            "freeze_norm.after must be a step (0 or more), a fraction of the run in (0, 1) or null, got 1.0",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, word: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught, ready(tmp_path, word):
        pass
    problems: Any = caught.value.problems
    assert problems == [line]

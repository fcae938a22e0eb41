"""How long a run is, what it logs, and that every file tells the same."""

from __future__ import annotations

import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from whole_runs import STEPS_PER_EPOCH, Train, assert_same

TRAINING = {"loss/train", "accuracy/train", "lr", "grad_norm", "examples_per_second"}
EVALUATED = ("loss", "accuracy", "top5", "nll", "brier", "ece")
VALIDATION = {f"{name}/val" for name in EVALUATED}
TEST = {f"{name}/{split}" for name in EVALUATED for split in ("test", "test_last")}


def test_every_logged_step_is_one_row_in_order(settled: Train) -> None:
    rows = settled("epochs=2").rows
    assert [row["step"] for row in rows] == list(range(2 * STEPS_PER_EPOCH + 1))
    for row in rows:
        epochs, rest = divmod(row["step"], STEPS_PER_EPOCH)
        assert row["examples"] == epochs * 90 + rest * 16
        assert row["epoch"] == pytest.approx(row["step"] / STEPS_PER_EPOCH, abs=1e-12)
        assert TRAINING <= row.keys() or row["step"] == 2 * STEPS_PER_EPOCH
        assert (VALIDATION <= row.keys()) == (rest == 0)
        assert (TEST <= row.keys()) == (row["step"] == 2 * STEPS_PER_EPOCH)


def test_step_0_shows_the_untrained_network_whatever_is_logged(train: Train) -> None:
    for telemetry in ("none", "default", "full"):
        first = train("init=zeros", "norm=none", f"telemetry={telemetry}").rows[0]
        assert first["step"] == first["epoch"] == first["examples"] == 0
        assert first["loss/val"] == pytest.approx(math.log(10), rel=1e-6)
        assert ("loss/train" in first) == (telemetry != "none")
        if telemetry != "none":
            assert first["loss/train"] == pytest.approx(math.log(10), rel=1e-6)


def test_steps_end_a_run_in_the_middle_of_an_epoch_with_an_evaluation(train: Train) -> None:
    ran = train("steps=8")
    assert (ran.result["status"], ran.result["step"], ran.result["examples"]) == ("finished", 8, 90 + 2 * 16)
    assert [row["step"] for row in ran.rows if "loss/val" in row] == [0, 6, 8]
    assert ran.last["state"]["step"] == 8
    assert ran.result["epoch"] == pytest.approx(8 / 6, abs=1e-6)


def test_steps_that_fill_epochs_are_those_epochs(train: Train, settled: Train) -> None:
    by_epochs, by_steps = settled("epochs=2"), train("steps=12")
    assert_same(by_steps.timeless_last(), by_epochs.timeless_last())
    assert_same(by_steps.timeless_rows(), by_epochs.timeless_rows())


@pytest.mark.parametrize(
    ("words", "steps", "examples"),
    [
        (("batch_size=10", "data.train_size=101", "drop_last=auto"), 9, 90),
        (("batch_size=10", "data.train_size=101", "drop_last=false", "norm=none"), 10, 91),
        (("batch_size=10", "data.train_size=101", "drop_last=true"), 9, 90),
        (("batch_size=16", "drop_last=auto"), 6, 90),
        (("batch_size=16", "drop_last=true"), 5, 80),
        (("batch_size=16", "accumulate=4"), 2, 90),
        (("batch_size=8", "accumulate=3", "drop_last=true"), 4, 88),
        (("batch_size=500",), 1, 90),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_an_epoch_takes_so_many_updates_and_examples(
    train: Train, words: tuple[str, ...], steps: int, examples: int
) -> None:
    ran = train(*words, "epochs=1", "telemetry=none")
    assert (ran.result["step"], ran.result["examples"], ran.result["epoch"]) == (steps, examples, 1)


def test_tensorboard_holds_the_rows_of_metrics_jsonl(settled: Train) -> None:
    """TensorBoard keeps float32 (rtol 6e-8)."""
    ran = settled()
    events = EventAccumulator(str(ran.path)).Reload()
    tags = {tag for row in ran.rows for tag in row} - {"step", "epoch", "examples"}
    assert tags >= TRAINING | VALIDATION | TEST
    assert set(events.Tags()["scalars"]) == tags
    for tag in tags:
        expected = [(row["step"], row[tag]) for row in ran.rows if tag in row]
        shown = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in shown] == [step for step, _ in expected], tag
        assert [v for _, v in shown] == pytest.approx([v for _, v in expected], rel=6e-8), tag


@pytest.mark.parametrize(
    ("words", "curve"),
    [
        (("schedule=constant",), lambda t, total: 0.05),
        (("schedule=cosine",), lambda t, total: 0.05 * (1 + math.cos(math.pi * t / total)) / 2),
        (("schedule=step",), lambda t, total: 0.05 * 0.1 ** ((t >= total / 2) + (t >= 0.75 * total))),
        (("schedule=constant", "schedule.warmup_steps=4"), lambda t, total: 0.05 * min(1, (t + 1) / 4)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_logged_learning_rate_follows_the_schedule(
    train: Train, words: tuple[str, ...], curve: object
) -> None:
    ran = train(*words, "steps=16")
    assert ran.column("lr") == pytest.approx([curve(t, 16) for t in range(16)], rel=1e-12)  # type: ignore[operator]


def test_the_logged_learning_rate_is_the_one_that_updates(train: Train) -> None:
    """Plain gradient descent moves by lr times the gradient: |dw| = lr * grad_norm (rtol 1e-4, float32)."""
    words = ("optimizer.momentum=0", "schedule=constant", "schedule.warmup_steps=4", "norm=none")
    before, after = (train(*words, f"steps={steps}") for steps in (4, 5))
    moved = math.sqrt(
        sum(
            (after.last["model"][name] - weight).double().square().sum().item()
            for name, weight in before.last["model"].items()
        )
    )
    row = after.rows[4]
    assert moved == pytest.approx(row["lr"] * row["grad_norm"], rel=1e-4)


def test_decay_norm_false_spares_norms_and_biases(train: Train) -> None:
    """After one update, runs with and without decay differ by lr * decay * w where w decays."""
    words = ("steps=1", "model=simple_cnn", "norm=builtin", "norm.affine=true", "optimizer.momentum=0")
    plain = train(*words).last["model"]
    start = train(*words, "optimizer.lr=0").last["model"]
    spared = train(*words, "optimizer.weight_decay=0.1", "optimizer.decay_norm=false").last["model"]
    decayed = train(*words, "optimizer.weight_decay=0.1", "optimizer.decay_norm=true").last["model"]
    trained = [name for name in start if "running" not in name and "num_batches" not in name]
    for name in trained:
        loss = 0.05 * 0.1 * start[name]
        spare = ".norm." in name or name.endswith("bias")
        assert spared[name].tolist() == plain[name].tolist() if spare else True, name
        if not spare:
            assert ((plain[name] - spared[name] - loss).abs() < 1e-6).all(), name
            assert spared[name].tolist() != plain[name].tolist(), name
        assert ((plain[name] - decayed[name] - loss).abs() < 1e-6).all(), name
    assert decayed["conv1.norm.weight"].tolist() != plain["conv1.norm.weight"].tolist()

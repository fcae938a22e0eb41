"""Which weights count, and that the reported numbers are theirs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from whole_runs import STEPS_PER_EPOCH, Train, assert_same, load, ready

# The validation loss is lowest in the middle of these runs.
RISING = ("norm=none", "model=mlp", "model.hidden=[20]", "optimizer.lr=1", "schedule=constant", "epochs=6")


def test_best_weights_are_those_of_the_lowest_validation_loss(train: Train, settled: Train) -> None:
    """best.pt holds, bit for bit, what a run of the same course had at that step."""
    ran = settled(*RISING)
    losses = {row["step"]: row["loss/val"] for row in ran.rows if "loss/val" in row}
    best_step = min(losses, key=lambda step: losses[step])
    assert 0 < best_step < 6 * STEPS_PER_EPOCH
    assert ran.result["best_step"] == ran.best["step"] == best_step
    shorter = train(*RISING[:-1], f"steps={best_step}")
    assert_same(ran.best["model"], shorter.last["model"])


@pytest.mark.parametrize(
    "words", [RISING, ("norm=custom",), ("model=simple_cnn", "norm=builtin")], ids=" ".join
)
def test_reported_losses_are_those_of_the_saved_weights(
    settled: Train, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Each split once more, example by example: its mean in float64 (rtol 1e-5, float32 networks)."""
    ran = settled(*words)
    with ready(tmp_path, *words) as prepared:
        parts = prepared.parts
        assert parts.val is not None
        for file, tags in {
            ran.directory.best_file: {"train_eval": parts.train_eval, "val": parts.val, "test": parts.test},
            ran.directory.last_file: {"val_last": parts.val, "test_last": parts.test},
        }.items():
            parts.learner.model.load_state_dict(load(file)["model"])
            for tag, batches in tags.items():
                loss, accuracy = measured(parts.learner.model, batches)
                assert ran.result[f"loss/{tag}"] == pytest.approx(loss, rel=1e-5)
                assert ran.result[f"accuracy/{tag}"] == pytest.approx(accuracy, abs=1e-12)
    assert len(parts.splits.test) == 359 and len(parts.splits.train) == 90


def test_eval_batch_size_does_not_change_what_is_measured(train: Train, settled: Train) -> None:
    """Means are over examples; 7 leaves an uneven last batch of every split (rtol 1e-6: order of sums)."""
    whole, pieces = settled(), train("eval_batch_size=7")
    for tag in ("val", "test", "test_last", "train_eval"):
        assert pieces.result[f"loss/{tag}"] == pytest.approx(whole.result[f"loss/{tag}"], rel=1e-6)
        assert pieces.result[f"accuracy/{tag}"] == whole.result[f"accuracy/{tag}"]


def test_without_validation_the_last_weights_count_as_best(settled: Train) -> None:
    ran = settled("data.val_fraction=0")
    assert_same(ran.best["model"], ran.last["model"])
    assert ran.result["loss/test"] == ran.result["loss/test_last"]
    assert ran.result["step"] == 3 * 7 and not any("loss/val" in row for row in ran.rows)


@pytest.mark.parametrize("patience", [1, 2])
def test_early_stopping_waits_for_patience_epochs_and_no_longer(
    train: Train, settled: Train, patience: int
) -> None:
    free, stopped = settled(*RISING), train(*RISING, f"early_stopping.patience={patience}")
    expected = first_stop(free.column("loss/val"), patience)
    assert expected in (5, 6) and stopped.result["status"] == "stopped_early"
    assert stopped.result["epoch"] == expected
    assert stopped.column("loss/val") == free.column("loss/val")[: expected + 1]


def test_the_course_before_training_is_no_epoch_without_improvement(train: Train) -> None:
    """With lr=0 the loss never falls: the first epoch is the best, patience=1 ends the run after one more."""
    ran = train("optimizer.lr=0", "norm=none", "early_stopping.patience=1")
    assert (ran.result["status"], ran.result["epoch"]) == ("stopped_early", 2)
    assert ran.result["best_step"] == STEPS_PER_EPOCH


STALE = ("norm=custom", "momentum=1e-4", "epochs=2", "optimizer.lr=0.3", "activation=relu")


def test_random_weights_are_never_the_best(train: Train) -> None:
    """Running averages that hardly move let the validation loss rise from the first epoch on."""
    ran = train(*STALE)
    losses = ran.column("loss/val")
    assert losses[0] is not None and losses[0] < min(losses[1:])
    assert ran.result["best_step"] == ran.best["step"] in (STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH)
    gap = ran.result["statistics_gap"]
    assert gap["split"] == "val" and gap["examples"] == ran.result["split_examples"]["val"]
    assert gap["running"] == ran.result["accuracy/val"] < gap["batch"]


def test_given_weights_may_be_the_best(train: Train, settled: Train) -> None:
    source = settled()
    ran = train(f"weights={source.path}/best.pt", "optimizer.lr=3", "norm=custom", "epochs=1")
    losses = ran.column("loss/val")
    assert losses[0] < losses[1] and ran.result["best_step"] == ran.best["step"] == 0
    assert_same(ran.best["model"], source.best["model"])


def first_stop(losses: list[float], patience: int) -> int | None:
    """The first epoch at which the lowest loss lies `patience` epochs back."""
    for epoch in range(1, len(losses)):
        if epoch - losses.index(min(losses[: epoch + 1])) >= patience:
            return epoch
    return None


def measured(model: torch.nn.Module, batches: object) -> tuple[float, float]:
    model.eval()
    losses, hits = [], []
    with torch.no_grad():
        for batch in batches:  # type: ignore[attr-defined]
            for logits, target in zip(model(batch.inputs).double(), batch.targets.tolist(), strict=True):
                values = logits.tolist()
                peak = max(values)
                total = math.fsum(math.exp(value - peak) for value in values)
                losses.append(peak + math.log(total) - values[target])
                hits.append(values.index(peak) == target)
    return math.fsum(losses) / len(losses), sum(hits) / len(hits)

"""Comparisons of statistics: measured as they should be, and changing nothing of the run that logs them."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from whole_runs import STEPS_PER_EPOCH, Train, assert_same, composed, own, ready, resume

from bnexp.engine.evaluate import evaluate
from bnexp.errors import ConfigError
from bnexp.evaluation.three_way import Examples, compare, notes, scalars
from bnexp.experiment.assembly import build, compared_examples
from bnexp.norms.modifiers.recalibrate import recalibrate, tracking
from bnexp.protocols import Split

KINDS = ("running", "batch", "recalibrated")
METRICS = ("loss", "accuracy", "top5", "nll", "brier", "ece")
TAGS = {f"three_way/{metric}/{kind}" for metric in METRICS for kind in KINDS}


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_three_scores_are_those_of_the_three_modes(tmp_path: Path) -> None:
    """Oracles: `evaluate`, a copy in training mode batch by batch, and a copy recalibrated by hand."""
    with ready(tmp_path, "norm=custom", "batch_size=32") as prepared:
        parts = prepared.parts
        model, precision = parts.learner.model, parts.learner.precision
        for layer in tracking(model).values():
            layer.get_buffer("running_mean").fill_(0.3)
        given = compared_examples(prepared.config, parts, parts.splits.test, 50)
        found = compare(model, given, precision)
        assert found.layers == list(tracking(model)) and found.failure is None
        expected = evaluate(model, parts.test, precision)
        assert found.scores["running"].loss == pytest.approx(expected["loss"], rel=1e-6)
        assert found.scores["running"].metrics == pytest.approx(expected, rel=1e-6)
        assert found.scores["running"].accuracy == expected["accuracy"]

        training = copy.deepcopy(model).train()
        with torch.no_grad():
            batches = list(given.mixed)
            logits = torch.cat([training(batch.inputs) for batch in batches])
        targets = torch.cat([batch.targets for batch in batches])
        loss = float(F.cross_entropy(logits.double(), targets))
        assert found.scores["batch"].loss == pytest.approx(loss, rel=1e-6)
        hits = (logits.argmax(1) == targets)[given.order.argsort()]
        assert torch.equal(found.scores["batch"].hits, hits)

        own = copy.deepcopy(model)
        recalibrate(own, [batch.inputs for batch in given.calibration])
        expected = evaluate(own, parts.test, precision)
        assert found.scores["recalibrated"].loss == pytest.approx(expected["loss"], rel=1e-6)
        assert found.scores["recalibrated"].metrics == pytest.approx(expected, rel=1e-6)
        assert found.scores["recalibrated"].accuracy == expected["accuracy"]
        losses = {kind: found.scores[kind].loss for kind in KINDS}
        assert len(set(losses.values())) == 3
        assert {tag: value for tag, value in scalars(found).items() if "loss" in tag} == {
            f"three_way/loss/{kind}": loss for kind, loss in losses.items()
        }


def given_of(tmp_path: Path, *words: str) -> tuple[Examples, Split, Split]:
    with ready(tmp_path, *words) as prepared:
        parts = prepared.parts
        return (
            compared_examples(prepared.config, parts, parts.splits.test, 40),
            parts.splits.test,
            parts.splits.train,
        )


def test_batches_are_mixed_and_whole(tmp_path: Path) -> None:
    given, test, train = given_of(tmp_path, "batch_size=16")
    targets = torch.cat([batch.targets for batch in given.mixed])
    assert torch.equal(targets, test.labels[given.order])
    assert torch.equal(given.order.sort().values, torch.arange(len(test)))
    assert not torch.equal(given.order, torch.arange(len(test)))
    sizes = [len(batch) for batch in given.calibration]
    assert sizes == [16, 16, 8]
    first = torch.cat([batch.targets for batch in given.calibration])
    assert not torch.equal(first, train.labels[:40])


@pytest.mark.parametrize("batch_size, last", [(2, 3), (179, 180), (358, 359), (1, 1)])
def test_a_single_example_joins_the_batch_before(tmp_path: Path, batch_size: int, last: int) -> None:
    """359 test images; one alone has no variance. Only a run with batches of one is measured with such."""
    given, _, _ = given_of(tmp_path, f"batch_size={batch_size}", "norm=none", "data.train_size=1000")
    sizes = [len(batch) for batch in given.mixed]
    assert sum(sizes) == 359 and sizes[-1] == last and set(sizes[:-1]) <= {batch_size}


def test_nothing_of_the_network_or_of_the_streams_is_touched(tmp_path: Path) -> None:
    words = ("model=classifier", "model.widths=[4,4]", "norm=custom")
    with ready(tmp_path, *words) as prepared:
        parts = prepared.parts
        model = parts.learner.model
        model.train()
        before, modes = state_of(model), [module.training for module in model.modules()]
        streams = {name: stream.get_state() for name, stream in parts.learner.streams.items()}
        assert streams
        own = torch.get_rng_state()
        given = compared_examples(prepared.config, parts, parts.splits.test, 50)
        found = compare(model, given, parts.learner.precision)
        assert scalars(found) == scalars(compare(model, given, parts.learner.precision))
        assert_same(state_of(model), before)
        assert [module.training for module in model.modules()] == modes
        assert_same({n: stream.get_state() for n, stream in parts.learner.streams.items()}, streams)
        assert torch.equal(torch.get_rng_state(), own)


def test_a_recalibration_that_fails_is_told_and_logged_as_missing(tmp_path: Path) -> None:
    with ready(tmp_path, "norm=custom") as prepared:
        parts = prepared.parts
        model = parts.learner.model
        with torch.no_grad():
            model.get_parameter("conv1.linear.weight").fill_(3e38)
        given = compared_examples(prepared.config, parts, parts.splits.test, 20)
        found = compare(model, given, parts.learner.precision)
        assert found.failure == "what flows into conv1.norm is not finite"
        assert math.isnan(scalars(found)["three_way/accuracy/recalibrated"])


@pytest.mark.parametrize("words", [("norm=custom",), ("norm=builtin", "compile=true", "epochs=2")], ids=str)
def test_a_run_that_compares_ends_with_the_bits_of_one_that_does_not(
    train: Train, settled: Train, words: tuple[str, ...]
) -> None:
    seen, bare = train(*words, "telemetry.three_way_every=1"), settled(*words)
    last, expected = seen.timeless_last(), bare.timeless_last()
    assert_same(last, expected, "last.pt")
    assert_same(own(seen.best), own(bare.best), "best.pt")
    assert seen.answer() == bare.answer()
    rows = [{tag: value for tag, value in row.items() if tag not in TAGS} for row in seen.timeless_rows()]
    assert rows == bare.timeless_rows()


def test_comparisons_stand_in_the_rows_of_their_epochs_and_at_the_end(train: Train) -> None:
    ran = train("telemetry.three_way_every=2", "epochs=5", "data.train_size=100")
    rows = {row["step"]: row for row in ran.rows}
    compared = {step for step, row in rows.items() if TAGS & row.keys()}
    assert compared == {0, 2 * STEPS_PER_EPOCH, 4 * STEPS_PER_EPOCH, 5 * STEPS_PER_EPOCH}
    for step in compared:
        assert TAGS <= rows[step].keys()
        assert rows[step]["three_way/loss/running"] == pytest.approx(rows[step]["loss/val"], rel=1e-6)
        for name in METRICS:
            running = rows[step][f"three_way/{name}/running"]
            assert running == pytest.approx(rows[step][f"{name}/val"], rel=1e-6), name


def test_a_resumed_run_has_the_rows_of_one_that_was_not_interrupted(train: Train, settled: Train) -> None:
    words = ("telemetry.three_way_every=1",)
    ran = resume(train(*words, stop_after=STEPS_PER_EPOCH + 2))
    assert ran.timeless_rows() == settled(*words).timeless_rows()


def test_networks_without_running_statistics_log_nothing_and_say_so(train: Train, tmp_path: Path) -> None:
    words = ("norm=none", "telemetry.three_way_every=1")
    assert not any(TAGS & row.keys() for row in train(*words).rows)
    with ready(tmp_path, *words) as prepared:
        assert any("three_way_every has no effect" in note for note in prepared.notes)
    with ready(tmp_path, "norm=none") as prepared:
        assert notes(prepared.config.telemetry.three_way_every, prepared.parts.learner.model) == []


def test_it_needs_a_validation_split(tmp_path: Path) -> None:
    composition = composed(str(tmp_path), ("telemetry.three_way_every=1", "data.val_fraction=0"))
    with pytest.raises(ConfigError, match=r"three_way_every needs a validation split"):
        build(composition.config, composition.problems, composition.broken)


def test_it_must_be_at_least_one(tmp_path: Path) -> None:
    (problem,) = composed(str(tmp_path), ("telemetry.three_way_every=0",)).problems
    assert problem == "telemetry.three_way_every must be at least 1, got 0"

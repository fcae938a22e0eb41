"""What a run found: the final measurements, and the content of result.json."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bnexp import metrics
from bnexp.config import TrainConfig
from bnexp.engine.checkpoint import TrainState
from bnexp.engine.divergence import Divergence
from bnexp.engine.evaluate import evaluate
from bnexp.engine.fit import Fit
from bnexp.experiment.assembly import Parts
from bnexp.protocols import EvalBatches, Outcome
from bnexp.runs.identity import config_hash
from bnexp.runs.provenance import peak_memory_bytes, where
from bnexp.statuses import Status


def final_metrics(motion: Fit, parts: Parts, status: Status) -> dict[str, float | None]:
    """Measure the last weights, then the best; the only time that the test split is looked at.

    Without validation the last weights count as best. The last weights of a diverged run are no result, and
    one that diverged before its first evaluation has no best weights. What there is no number of is None. The
    network is left with the weights that were measured last.
    """
    learner, checkpoints, state = motion.learner, motion.checkpoints, motion.state
    best = _splits(parts)
    last = {f"{name}_last": batches for name, batches in best.items() if name != "train_eval"}
    found: dict[str, float | None] = {}
    found |= dict.fromkeys(metrics.tags(*best, *last, among=_metrics(parts)))
    if status != "diverged":
        found |= _measured(parts, last)
        if parts.val is None:
            state.best_step = state.step
            checkpoints.save_best(learner, state)
    if state.best_step is not None:
        checkpoints.load_best(learner, state.best_step)
        found |= _measured(parts, best)
    return found


def _splits(parts: Parts) -> dict[str, EvalBatches]:
    found = {"train_eval": parts.train_eval, "val": parts.val, "test": parts.test}
    return {name: batches for name, batches in found.items() if batches is not None}


def _metrics(parts: Parts) -> list[metrics.Metric]:
    return [metrics.of(name) for name in metrics.measured(len(parts.splits.classes))]


def _measured(parts: Parts, splits: dict[str, EvalBatches]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, batches in splits.items():
        values = evaluate(parts.learner.model, batches, parts.learner.precision)
        found |= {f"{metric}/{name}": value for metric, value in values.items()}
    return found


def test_scalars(found: dict[str, float | None]) -> dict[str, float]:
    """Return the measurements on the test split, as they stand in the last row."""
    return {tag: value for tag, value in found.items() if "/test" in tag and value is not None}


def outcome(
    state: TrainState, steps_per_epoch: int, status: Status, divergence: Divergence | None
) -> Outcome:
    """Return how far a run came and how it ended."""
    details: dict[str, Any] = {"best_step": state.best_step}
    if divergence is not None:
        details["diverged"] = asdict(divergence)
    return Outcome(
        status=status,
        step=state.step,
        epoch=round(state.step / steps_per_epoch, 6),
        examples=state.examples,
        seconds=state.seconds,
        metrics=dict(state.latest),
        details=details,
    )


def content(config: TrainConfig, parts: Parts, outcome: Outcome, command: str) -> dict[str, Any]:
    """Return what result.json holds: the outcome, flat, what it cost, and where it ran."""
    return {
        "status": outcome.status,
        "step": outcome.step,
        "epoch": outcome.epoch,
        "examples": outcome.examples,
        **outcome.metrics,
        "seconds": outcome.seconds,
        "examples_per_second": outcome.examples / outcome.seconds if outcome.seconds else None,
        "peak_memory_bytes": peak_memory_bytes(parts.device),
        "parameters": parts.num_parameters,
        metrics.SPLIT_EXAMPLES: {name: len(batches) for name, batches in _splits(parts).items()},
        **parts.pixels.constants(),
        "config_hash": config_hash(asdict(config)),
        "command": command,
        "device": str(parts.device),
        **where(),
        **outcome.details,
        "config": asdict(config),
    }


def command() -> str:
    """Return the command line of this process, to be typed again anywhere."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])

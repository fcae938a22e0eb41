"""One experiment from a checked configuration to the run directory that answers it."""

from __future__ import annotations

import logging
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bnexp import assembly
from bnexp.assembly import Parts
from bnexp.composition.compose import Composition, as_yaml
from bnexp.config import TrainConfig
from bnexp.engine.checkpoint import Checkpoints, TrainState
from bnexp.engine.device import cores, environment
from bnexp.engine.divergence import Divergence
from bnexp.engine.evaluate import evaluate
from bnexp.engine.fit import Fit, Plan, fit
from bnexp.engine.interrupt import stoppable
from bnexp.protocols import EvalBatches, Measurement, Outcome, Progress, Status
from bnexp.runs.directory import RunDirectory, create, create_at
from bnexp.runs.identity import config_hash, label
from bnexp.runs.provenance import peak_memory_bytes, where
from bnexp.telemetry.gradient_norm import GradientNorm
from bnexp.telemetry.jsonl import MetricsFile
from bnexp.telemetry.run_writer import RunWriter
from bnexp.telemetry.tensorboard import TensorBoardWriter

log = logging.getLogger("bnexp")


@dataclass
class Experiment:
    """A run that is ready to train: everything built and checked, nothing trained."""

    config: TrainConfig
    parts: Parts
    threads: int
    notes: list[str]


@contextmanager
def prepared(composition: Composition, *, in_sweep: bool = False) -> Iterator[Experiment]:
    """Build the run that `composition` describes, in its own threads and determinism.

    Raises:
        BnexpError: something in it cannot work; nothing has been written then.
    """
    config = composition.config
    threads = config.threads if isinstance(config.threads, int) else 1 if in_sweep else cores()
    with environment(max(1, threads), config.deterministic):
        parts = assembly.build(config, composition.problems)
        yield Experiment(config, parts, threads, composition.notes + parts.notes)


def new_directory(config: TrainConfig) -> RunDirectory:
    """Make the folder of a new run."""
    if config.output_dir is not None:
        return create_at(Path(config.output_dir))
    name = label(config.choices, batch_size=config.batch_size, seed=config.seed)
    return create(Path(config.runs_dir), config.choices.get("experiment") or "default", name)


def run(
    experiment: Experiment, directory: RunDirectory, progress: Progress, *, resumed: bool = False
) -> Outcome:
    """Train, measure on the test split, and leave everything in `directory`; see `bnexp.protocols.Outcome`.

    Whatever happens, `result.json` says how it ended. A bug is logged there and raised again.
    """
    with directory.lock(), _logging_to(directory.log_file):
        if not resumed:
            directory.write_config(as_yaml(experiment.config))
        log.info("%s %s", "resumed by" if resumed else "started by", command())
        for note in experiment.notes:
            log.info("note: %s", note)
        try:
            outcome = _train(experiment, directory, progress, resumed)
        except KeyboardInterrupt:
            _leave_result(experiment, directory, _cut_short("interrupted"))
            raise
        except BaseException as error:
            log.error("%s", traceback.format_exc())
            _leave_result(
                experiment, directory, _cut_short("failed"), error=f"{type(error).__name__}: {error}"
            )
            raise
        _leave_result(experiment, directory, outcome)
        log.info("%s at step %d", outcome.status, outcome.step)
    return outcome


def _train(experiment: Experiment, directory: RunDirectory, progress: Progress, resumed: bool) -> Outcome:
    config, parts = experiment.config, experiment.parts
    checkpoints = Checkpoints(directory.last_file, directory.best_file)
    state = TrainState(experiment.threads)
    if resumed and directory.last_file.exists():
        state = checkpoints.load_last(parts.learner, parts.device)
        torch.set_num_threads(state.threads)
    resume_step = state.step if resumed else None
    with ExitStack() as stack:
        metrics = MetricsFile(directory.metrics_file, resume_step)
        writer = stack.enter_context(RunWriter(metrics, TensorBoardWriter(directory.path, resume_step)))
        stop = stack.enter_context(stoppable())
        motion = Fit(
            learner=parts.learner,
            schedule=parts.schedule,
            batches=parts.batches,
            evaluate=_validation(parts),
            plan=_plan(config, parts),
            probes=[GradientNorm(config.telemetry.scalars_every)],
            writer=writer,
            progress=progress,
            checkpoints=checkpoints,
            stop=stop,
            state=state,
        )
        status, divergence = fit(motion)
        outcome = _outcome(motion, status, divergence)
        if status != "interrupted":
            outcome.metrics |= _final_metrics(motion, parts, status)
            motion.write(Measurement(_finite_test(outcome.metrics)))
    return outcome


def _plan(config: TrainConfig, parts: Parts) -> Plan:
    return Plan(
        total_steps=parts.total_steps,
        scalars_every=config.telemetry.scalars_every,
        check_every=config.check_every,
        checkpoint_every=config.checkpoint.every,
        patience=config.early_stopping.patience,
        loss_on_host=parts.device.type == "cpu",
    )


def _validation(parts: Parts) -> Callable[[], dict[str, float]] | None:
    if parts.val is None:
        return None
    val, learner = parts.val, parts.learner
    return lambda: evaluate(learner.model, val, learner.precision)


def _final_metrics(motion: Fit, parts: Parts, status: Status) -> dict[str, float | None]:
    """Measure the last weights, then the best; the only time that the test split is looked at.

    Without validation the last weights count as best. The last weights of a diverged run are no result.
    """
    learner, checkpoints = motion.learner, motion.checkpoints
    found: dict[str, float | None] = {}
    if status == "diverged":
        found |= {"loss/test_last": None, "accuracy/test_last": None}
    else:
        found |= _measured(parts, {"val_last": parts.val, "test_last": parts.test})
        if parts.val is None:
            checkpoints.save_best(learner, motion.state)
    if motion.state.best_loss is None and (status == "diverged" or parts.val is not None):
        return found | {"loss/test": None, "accuracy/test": None}
    checkpoints.load_best(learner, parts.device)
    return found | _measured(parts, {"train_eval": parts.train_eval, "val": parts.val, "test": parts.test})


def _measured(parts: Parts, splits: dict[str, EvalBatches | None]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, batches in splits.items():
        if batches is not None:
            metrics = evaluate(parts.learner.model, batches, parts.learner.precision)
            found |= {f"{metric}/{name}": value for metric, value in metrics.items()}
    return found


def _finite_test(metrics: dict[str, float | None]) -> dict[str, float]:
    return {tag: value for tag, value in metrics.items() if "/test" in tag and value is not None}


def _outcome(motion: Fit, status: Status, divergence: Divergence | None) -> Outcome:
    state = motion.state
    details: dict[str, Any] = {"best_step": state.best_step}
    if divergence is not None:
        details["diverged"] = asdict(divergence)
        log.info("the loss is no longer finite: %s", divergence)
    return Outcome(
        status=status,
        step=state.step,
        epoch=round(motion.epoch(), 6),
        examples=state.examples,
        seconds=state.seconds,
        metrics=dict(state.latest),
        details=details,
    )


def _cut_short(status: Status) -> Outcome:
    return Outcome(status=status, step=0, epoch=0.0, examples=0, seconds=0.0)


def _leave_result(experiment: Experiment, directory: RunDirectory, outcome: Outcome, **more: str) -> None:
    rate = outcome.examples / outcome.seconds if outcome.seconds else None
    directory.write_result(
        {
            "status": outcome.status,
            "step": outcome.step,
            "epoch": outcome.epoch,
            "examples": outcome.examples,
            **outcome.metrics,
            "seconds": outcome.seconds,
            "examples_per_second": rate,
            "peak_memory_bytes": peak_memory_bytes(experiment.parts.device),
            "parameters": experiment.parts.num_parameters,
            "config_hash": config_hash(asdict(experiment.config)),
            "command": command(),
            "device": str(experiment.parts.device),
            **where(),
            **outcome.details,
            **more,
        }
    )


def command() -> str:
    """Return the command line of this process, to be typed again anywhere."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Send what bnexp logs to `path`."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        handler.close()

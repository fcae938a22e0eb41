"""One experiment from a checked configuration to the run directory that answers it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bnexp import atomic
from bnexp.choices import own_values
from bnexp.composition.compose import Composition, as_yaml
from bnexp.config import MOST_THREADS, TrainConfig
from bnexp.engine.checkpoint import Checkpoints, TrainState
from bnexp.engine.device import cores, environment
from bnexp.engine.divergence import Divergence
from bnexp.engine.evaluate import evaluate
from bnexp.engine.fit import Fit, Plan, fit
from bnexp.engine.interrupt import stoppable
from bnexp.errors import BnexpError, StorageError
from bnexp.evaluation import three_way
from bnexp.experiment import assembly, going_on, result
from bnexp.experiment.assembly import Parts
from bnexp.experiment.going_on import Start
from bnexp.experiment.pieces import sample
from bnexp.metrics import GAP
from bnexp.protocols import Measurement, Outcome, Probe, Progress
from bnexp.runs import ownership
from bnexp.runs.directory import RunDirectory, create, create_at
from bnexp.runs.identity import label, norm_options
from bnexp.runs.provenance import forget_peak_memory
from bnexp.shorthand import norm_values
from bnexp.statuses import ANSWERED, Status
from bnexp.telemetry.intervals import adapted

GAP_EXAMPLES = 1000  # tell a gap of a few points, at the cost of a moment

log = logging.getLogger("bnexp")


@dataclass
class Experiment:
    """A run that is ready to train: everything built and checked, nothing trained.

    `config` names the weights file and the number of threads that the run has, whatever was asked for.
    """

    config: TrainConfig
    parts: Parts
    probes: Sequence[Probe]
    notes: list[str]
    warnings: list[str]
    state: TrainState


@contextmanager
def prepared(
    composition: Composition, *, in_sweep: bool = False, going_on: bool = False
) -> Iterator[Experiment]:
    """Build the run that `composition` describes, in its own threads and determinism.

    Args:
        going_on: the run has a checkpoint of its own, so that what it once started from is not looked for.
    Raises:
        BnexpError: something in it cannot work; nothing has been written then.
    """
    config = composition.config
    threads = config.threads if isinstance(config.threads, int) else 1 if in_sweep else cores()
    threads = threads if 1 <= threads <= MOST_THREADS else 1
    with environment(threads, config.deterministic):
        started = replace(config, weights=None) if going_on else config
        parts = assembly.build(started, composition.problems, composition.broken)
        probes, notes = assembly.probes(config, parts)
        notes += three_way.notes(config.telemetry.three_way_every, parts.learner.model) + _unlisted(config)
        source = str(parts.weights) if parts.weights is not None else config.weights
        config = replace(config, weights=source, threads=threads)
        notes = composition.notes + parts.notes + notes
        yield Experiment(config, parts, probes, notes, parts.warnings, TrainState(threads))


def _unlisted(config: TrainConfig) -> list[str]:
    """Return a note where no verb will find the run below the folder of runs."""
    if config.output_dir is None:
        return []
    above = Path(config.output_dir).resolve().parents
    if Path(config.runs_dir).resolve() in above[:2]:
        return []
    return [f"{config.output_dir} is not one or two folders below runs_dir: name the run by its folder"]


def new_directory(config: TrainConfig) -> RunDirectory:
    """Make the folder of a new run."""
    if config.output_dir is not None:
        return create_at(Path(config.output_dir))
    options = norm_options(asdict(config))
    name = label(_choices_to_name(config), batch_size=config.batch_size, seed=config.seed, options=options)
    return create(Path(config.runs_dir), config.choices.get("experiment") or "default", name)


def _choices_to_name(config: TrainConfig) -> dict[str, str | None]:
    """Return the choices, without a convention from which the norm's momentum or eps departs."""
    brought, own = own_values("convention", config.choices.get("convention")), norm_values(vars(config))
    follows = own and all(brought.get(name) == value for name, value in own.items())
    return config.choices if follows else {**config.choices, "convention": None}


def run(
    experiment: Experiment,
    directory: RunDirectory,
    progress: Progress,
    *,
    resumed: bool = False,
    command: str | None = None,
) -> Outcome:
    """Train, measure on the test split, and leave everything in `directory`; see `bnexp.protocols.Outcome`.

    Whatever happens, `result.json` says how it ended. A bug is logged there and raised again.

    Args:
        command: what makes this run again; None is the command line of this process.
    Raises:
        StorageError: the disk is full, or the folder is gone; a run that has not begun leaves no folder.
    """
    try:
        return _run(experiment, directory, progress, resumed, command or result.command())
    except BnexpError:
        raise
    except OSError as error:
        if not resumed and not directory.config_file.exists():
            ownership.discard(directory)
        raise _lost(directory, error) from error


def _lost(directory: RunDirectory, error: OSError) -> StorageError:
    """Return the line for a run whose files can no more be written."""
    what = f"{error.filename or directory.path} cannot be written ({error.strerror or error})"
    if directory.config_file.exists():
        what += f": what was written before is kept, go on by `bnexp resume {directory.path}`"
    return StorageError(what)


def _run(
    experiment: Experiment, directory: RunDirectory, progress: Progress, resumed: bool, command: str
) -> Outcome:
    # Here and not above, as Recording below: `bnexp doctor` and `eval` train nothing and need no TensorBoard.
    from bnexp.telemetry.hparams import end_session

    config, steps_per_epoch = experiment.config, experiment.parts.batches.steps_per_epoch
    with directory.lock(), _logging_to(directory.log_file):
        checkpoints, start = _begin(experiment, directory, resumed)
        log.info("%s %s", "resumed by" if resumed else "started by", command)
        for note in experiment.notes:
            log.info("note: %s", note)
        for warning in experiment.warnings:
            log.warning("%s", warning)
        _tell(start.notes, progress)
        status: Status = "failed"
        divergence: Divergence | None = None
        details: dict[str, Any] = {}
        metrics: dict[str, float | None] = {}
        forget_peak_memory(experiment.parts.device)
        try:
            status, divergence, metrics, details = _train(
                experiment, directory, checkpoints, start, progress, command
            )
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except BaseException as error:
            details["error"] = f"{type(error).__name__}: {error}"
            log.error("%s", traceback.format_exc())
            raise
        finally:
            outcome = result.outcome(experiment.state, steps_per_epoch, status, divergence)
            outcome.metrics |= metrics
            outcome.details |= details
            with suppress(OSError) if "error" in details else nullcontext():  # the first one is told
                end_session(directory.path, status)
                directory.write_result(result.content(config, experiment.parts, outcome, command))
                if status in ANSWERED:
                    directory.previous_file.unlink(missing_ok=True)
            log.info("%s at step %d%s", status, outcome.step, f": {divergence}" if divergence else "")
    return outcome


def _begin(experiment: Experiment, directory: RunDirectory, resumed: bool) -> tuple[Checkpoints, Start]:
    """Make the run's folder that of a new run, or bring the network to where the run was.

    Raises:
        CheckpointError: what is there is not this run's own, or damaged; all files are as they were.
    """
    config, parts, state = experiment.config, experiment.parts, experiment.state
    if resumed:
        atomic.sweep(directory.path)
        owned = ownership.of(directory)
    else:
        owned = ownership.begin(directory, as_yaml(config), asdict(config))
    about = going_on.about(owned, config, parts.pixels.constants())
    checkpoints = Checkpoints(directory.last_file, directory.previous_file, directory.best_file, about)
    if not resumed:
        return checkpoints, Start(state)
    start = going_on.restore(
        directory, owned, checkpoints, parts.learner, state, initial_is_random=config.weights is None
    )
    ownership.keep(directory, owned)
    experiment.state = start.state
    torch.set_num_threads(start.state.threads)
    return checkpoints, start


def _tell(notes: Sequence[str], progress: Progress) -> None:
    for note in notes:
        log.warning("%s", note)
        progress.note(note)


def _train(
    experiment: Experiment,
    directory: RunDirectory,
    checkpoints: Checkpoints,
    start: Start,
    progress: Progress,
    command: str,
) -> tuple[Status, Divergence | None, dict[str, float | None], dict[str, Any]]:
    from bnexp.experiment.recording import Recording

    config, parts = experiment.config, experiment.parts
    recording = Recording(directory, config, start)
    _tell([recording.lost] if recording.lost else [], progress)
    metrics: dict[str, float | None] = {}
    details: dict[str, Any] = {}
    with recording.writer, stoppable() as stop:
        recording.open_pages(parts, command)
        motion = Fit(
            learner=parts.learner,
            schedule=parts.schedule,
            batches=parts.batches,
            evaluate=_validation(parts),
            plan=_plan(config, parts),
            probes=experiment.probes,
            writer=recording.writer,
            progress=progress,
            checkpoints=checkpoints,
            stop=stop,
            state=experiment.state,
            compare=_comparison(config, parts),
        )
        status, divergence = fit(motion)
        if status != "interrupted":
            metrics = result.final_metrics(motion, parts, status)
            if status != "diverged":
                details[GAP] = _statistics_gap(config, parts)
            motion.log([], Measurement(result.test_scalars(metrics)))
            motion.flush()
            if metrics["accuracy/test"] is not None:
                recording.close_pages(parts, experiment.state.step)
            recording.writer.mark()  # before result.json says that there is an answer
    return status, divergence, metrics, details


def _statistics_gap(config: TrainConfig, parts: Parts) -> dict[str, Any] | None:
    """Compare both kinds of statistics for the weights that were measured last, on a few held-out examples.

    Those of the training split stand in where there is no validation split; the test split is kept out of it.
    """
    split = "val" if parts.splits.val is not None else "train_eval"
    few = sample(parts.splits.val or parts.splits.train, GAP_EXAMPLES, config.seed)
    given = assembly.compared_examples(config, parts, few, samples=0)
    found = three_way.gap(parts.learner.model, given, parts.learner.precision)
    return None if found is None else {"split": split, **found}


def _plan(config: TrainConfig, parts: Parts) -> Plan:
    return Plan(
        total_steps=parts.total_steps,
        scalars_every=adapted(config.telemetry.scalars_every, parts.total_steps, "scalars"),
        check_every=config.check_every,
        checkpoint_every=config.checkpoint.every,
        patience=config.early_stopping.patience,
        loss_on_host=parts.device.type == "cpu",
        initial_counts=config.weights is not None,
    )


def _validation(parts: Parts) -> Callable[[], dict[str, float]] | None:
    if parts.val is None:
        return None
    val, learner = parts.val, parts.learner
    return lambda: evaluate(learner.model, val, learner.precision)


def _comparison(config: TrainConfig, parts: Parts) -> Callable[[int], dict[str, float]] | None:
    every = config.telemetry.three_way_every
    if every is None or parts.splits.val is None:
        return None
    given = assembly.compared_examples(config, parts, parts.splits.val, assembly.TRAIN_EVAL_EXAMPLES)
    learner, interval = parts.learner, every * parts.batches.steps_per_epoch

    def compare(step: int) -> dict[str, float]:
        if step % interval and step != parts.total_steps:
            return {}
        return three_way.scalars(three_way.compare(learner.model, given, learner.precision))

    return compare


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Send what bnexp logs to `path`."""
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        with suppress(OSError):
            handler.close()


class _LogFile(logging.FileHandler):
    """A log that loses lines where the disk is full; logging's own prints a traceback for each."""

    def handleError(self, record: logging.LogRecord) -> None: ...

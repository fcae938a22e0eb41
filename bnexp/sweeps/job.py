"""One job of a sweep, in whatever process a launcher gives it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from bnexp import metrics
from bnexp.errors import BnexpError
from bnexp.protocols import Outcome
from bnexp.runs import sweeps
from bnexp.runs.directory import RunDirectory, status
from bnexp.runs.ownership import discard
from bnexp.runs.sweeps import Sweep
from bnexp.statuses import is_open
from bnexp.sweeps.gpus import gpus_to_share, see_one_of
from bnexp.sweeps.worker import end_with_launcher, launcher, stopping_with, work_in


class Quiet:
    """A progress display that shows nothing: the sweep has one of its own."""

    def note(self, line: str) -> None: ...
    def start(self, examples: int) -> None: ...
    def advance(self, examples: int, loss: float | None, latest: Mapping[str, float]) -> None: ...
    def epoch(self, epoch: float, line: str) -> None: ...


@dataclass(frozen=True)
class RunJob:
    """What launchers call for each job: trains the run number `node.job` of a recorded sweep.

    Returns how the job ended. A mistake or a bug in one job is recorded and no error of the launcher's.

    Args:
        record: the sweep's .json file.
        launcher: the process that waits for the sweep; workers that it started die with it.
        folder: where the sweep was started, which relative paths are meant from.
        fail_fast: start no further job after one that failed.
    """

    record: str
    launcher: int
    folder: str
    fail_fast: bool

    def __call__(self, node: DictConfig) -> str:
        if launcher() == self.launcher:
            end_with_launcher()
            see_one_of(gpus_to_share(Path(self.record)), Path(self.record))
        work_in(Path(self.folder))
        sweep, job = sweeps.read(Path(self.record)), int(node.job)
        if sweep.stop_file.exists():
            return "waiting"
        try:
            with stopping_with(sweep):
                ended = _run(sweep, job)
        except (BnexpError, OSError) as error:
            ended = "failed"
            _record_failure(sweep, job, str(error))
        except Exception as error:
            ended = "failed"
            traceback.print_exc()
            _record_failure(sweep, job, traceback.format_exception_only(error)[-1].strip())
        if ended == "interrupted" or (ended == "failed" and self.fail_fast):
            with suppress(OSError):
                sweep.stop_file.touch()
        return ended


def _record_failure(sweep: Sweep, job: int, detail: str) -> None:
    """Record that a job has failed, or say so here where the record cannot be written."""
    try:
        sweep.add(job, "failed", detail=detail)
    except OSError as error:
        told, reason = f"job {job + 1} of {sweep.name} failed: {detail}", error.strerror or str(error)
        also = "" if reason in detail else f"; nor can the sweep's record be written ({reason})"
        print(f"bnexp: {told}{also}", file=sys.stderr)


def _run(sweep: Sweep, job: int) -> str:
    """Go on with the run that this job has, or make one; return its status."""
    earlier = sweep.runs().get(job)
    if earlier is not None and not is_open(stands := status(earlier)):
        return stands
    if earlier is not None:
        return _train(sweep, job, earlier, earlier.read_config())
    return _train(sweep, job, None, sweep.jobs[job].config)


def _train(sweep: Sweep, job: int, earlier: RunDirectory | None, text: str) -> str:
    # Here and not above: the process that launches a sweep needs no torch, its workers have it.
    from bnexp.composition.compose import Composition, restore
    from bnexp.experiment import run as experiment

    composition = Composition(restore(text, sweep.plugins), [], [])
    going_on = earlier is not None and earlier.has_checkpoint
    with experiment.prepared(composition, in_sweep=True, going_on=going_on) as ready:
        directory = earlier or experiment.new_directory(ready.config)
        try:
            sweep.add(job, "started", directory.path.resolve())
        except OSError:
            if earlier is None:
                discard(directory)
            raise
        outcome = experiment.run(
            ready, directory, Quiet(), resumed=earlier is not None, command=sweep.command(job)
        )
        sweep.add(job, "ended", directory.path.resolve(), ending(outcome))
    return outcome.status


def ending(outcome: Outcome) -> str:
    """Return the end of a run in a few words."""
    metric = metrics.of("accuracy/test")
    value = outcome.metrics.get(metric.name)
    return outcome.status + (f", {metric.title} {metric.text(value)}" if value is not None else "")

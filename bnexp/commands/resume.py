"""`bnexp resume`: go on with a run, or with a sweep, as if nothing had happened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bnexp.commands import sweep
from bnexp.commands.train import watched
from bnexp.display.columns import wide_console
from bnexp.errors import CheckpointError
from bnexp.runs import sweeps
from bnexp.runs.directory import RunDirectory, open_run, status
from bnexp.runs.lookup import find
from bnexp.runs.sweeps import Sweep
from bnexp.statuses import ANSWERED
from bnexp.sweeps.hydra_words import completed
from bnexp.sweeps.pool import workers


def resume(reference: str, runs_dir: str, plugins: Sequence[str], jobs: int | None = None) -> int:
    """Continue the run or the sweep that `reference` names; return the exit code.

    Args:
        jobs: of a sweep, at a time.

    Raises:
        CheckpointError: it already ended with an answer, or another process holds it.
    """
    record = sweeps.find(reference, Path(runs_dir))
    if record is not None:
        return _go_on(sweeps.read(record), jobs)
    return _finish(open_run(find(reference, Path(runs_dir))), plugins)


def _finish(directory: RunDirectory, plugins: Sequence[str]) -> int:
    # Here and not above: the process that launches a sweep needs no torch, its workers have it.
    from bnexp.composition.compose import Composition, restore
    from bnexp.experiment import run as experiment

    ended = status(directory)
    if ended in ANSWERED:
        raise CheckpointError(f"{directory.path} is {ended}: there is nothing to resume")
    config = restore(directory.read_config(), plugins)
    going_on = directory.has_checkpoint
    with experiment.prepared(Composition(config, [], []), going_on=going_on) as ready:
        return watched(ready, directory, resumed=True)


def _go_on(recorded: Sweep, jobs: int | None) -> int:
    if not recorded.jobs:
        raise CheckpointError(
            f"{recorded.name} was a search: give its words again, with hydra.sweeper.storage and study_name"
        )
    with workers(jobs):
        return sweep.run(recorded, completed([], jobs), wide_console(), sweep.SweepOptions(jobs))

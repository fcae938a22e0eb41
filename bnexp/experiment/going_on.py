"""What a run goes on from: its last checkpoint if that is whole and its own, else the one before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bnexp.config import TrainConfig
from bnexp.engine import checkpoint
from bnexp.engine.checkpoint import Checkpoints, Saved, TrainState
from bnexp.engine.learner import Learner
from bnexp.errors import CheckpointError
from bnexp.runs import ownership
from bnexp.runs.directory import RunDirectory
from bnexp.runs.ownership import Ownership
from bnexp.telemetry.jsonl import NOTHING


@dataclass
class Start:
    """Where training begins.

    step: None for a new run. metrics: the mark of its rows, None where the checkpoint has none.
    events: the marks of the event files before. notes: what a person has to know of.
    """

    state: TrainState
    step: int | None = None
    metrics: Mapping[str, Any] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def about(owned: Ownership, config: TrainConfig, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands in every checkpoint besides the run's state."""
    return {**inputs, "run": owned.run, "config": json.dumps(ownership.comparable(asdict(config)))}


def restore(
    directory: RunDirectory,
    owned: Ownership,
    checkpoints: Checkpoints,
    learner: Learner,
    state: TrainState,
    *,
    initial_is_random: bool,
) -> Start:
    """Bring `learner` to where the run was.

    Args:
        state: that of a run that has done nothing, for one that has no checkpoint.
        initial_is_random: the run did not start from given weights.
    Raises:
        CheckpointError: no checkpoint can be used, or one is another run's.
    """
    # Here and not above: `bnexp doctor` and `eval` restore nothing and need no TensorBoard.
    from bnexp.telemetry.event_file import damaged

    files = [path for path in (checkpoints.last, checkpoints.previous) if path.exists()]
    if not files:
        checkpoints.best.unlink(missing_ok=True)
        return Start(state, 0, NOTHING, notes=[f"{directory.path} has no checkpoint: the run starts over"])
    saved, notes = _first_whole(files)
    _refuse_other(saved.path, saved.content, owned)
    if saved.path != checkpoints.last and not notes:
        notes = [f"{checkpoints.last} is missing: going on from {saved.path.name} of step {saved.state.step}"]
    if "run" not in saved.content:
        notes.append(f"{saved.path} is of a version that did not write whose it is: taken for this run's own")
    saved.load(learner)
    if initial_is_random:
        _forget_initial(saved.state, checkpoints)
    notes += _best(checkpoints, saved, files, owned, learner)
    marks = saved.content.get("files", {})
    events = marks.get("events", [])
    lost = damaged(directory.path, events)
    if lost:
        notes.append(
            f"{', '.join(lost)} in {directory.path} is damaged or missing: TensorBoard lacks what was logged "
            f"before step {saved.state.step}"
        )
    events = [mark for mark in events if mark["name"] not in lost]
    return Start(saved.state, saved.state.step, marks.get("metrics"), events, notes)


def _first_whole(files: list[Path]) -> tuple[Saved, list[str]]:
    """Return the first checkpoint that can be used, and a line for each before it that cannot."""
    problems: list[str] = []
    for path in files:
        try:
            saved = checkpoint.read_last(path)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        return saved, [f"{line}: going on from {path.name} of step {saved.state.step}" for line in problems]
    raise CheckpointError(f"{'; '.join(problems)}: delete {_names(files)}, and the run starts over")


def _refuse_other(path: Path, content: Mapping[str, Any], owned: Ownership) -> None:
    """Refuse what another run has written; where no ids can tell, by the configuration."""
    run, config = content.get("run"), content.get("config")
    if run is None and owned.adopted:
        return
    theirs = ownership.comparable(json.loads(config)) if isinstance(config, str) else {}
    known = [ownership.comparable(each) for each in owned.configs]
    if theirs in known and (owned.adopted or run == owned.run):
        return
    told = ownership.differences(theirs, known[-1]) if theirs else "it does not say of which"
    raise CheckpointError(
        f"{path} is another run's ({told or 'of the same configuration'}): put back this run's or delete it"
    )


def _forget_initial(state: TrainState, checkpoints: Checkpoints) -> None:
    """Take random weights for the best no more where an earlier version of bnexp did."""
    if state.best_step == 0 or state.best_loss is None:
        state.best_loss, state.best_step, state.epochs_since_best = None, None, 0
        checkpoints.best.unlink(missing_ok=True)


def _best(
    checkpoints: Checkpoints, saved: Saved, files: list[Path], owned: Ownership, learner: Learner
) -> list[str]:
    """See to it that best.pt holds the best weights so far; one that is lost is made again if it can be.

    It may be of a later step than the checkpoint: of weights that the run will come to once more.
    """
    step = saved.state.best_step
    if step is None:
        return []
    try:
        content = checkpoint.best(checkpoints.best, learner)
    except CheckpointError as error:
        problem = str(error)
    else:
        _refuse_other(checkpoints.best, content, owned)
        if content["step"] == step or content["step"] > saved.state.step:
            return []
        problem = f"{checkpoints.best} has the weights of step {content['step']}, the best are of {step}"
    for path in files:
        same = saved if path == saved.path else _readable(path)
        if same is not None and same.state.step == step:
            checkpoint.write(
                checkpoints.best, {"model": same.content["model"], "step": step, **checkpoints.about}
            )
            return [f"{problem}: made again from {path.name}"]
    raise CheckpointError(f"{problem}: put it back, or delete {_names(files)}, and the run starts over")


def _readable(path: Path) -> Saved | None:
    try:
        return checkpoint.read_last(path)
    except CheckpointError:
        return None


def _names(files: list[Path]) -> str:
    return " and ".join(map(str, files))

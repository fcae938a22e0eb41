"""What survives a step, and the files that keep it.

`last.pt` holds everything that a run needs to go on bit for bit: the learner (weights, buffers, optimizer,
loss scaler, random streams), the `TrainState`, and what tells whether rows and events are those of its time.
The data order is not in it because it is a function of the seed and the step. `previous.pt` is the one
before, for the case that the last is damaged. `best.pt` holds the weights and buffers with the lowest
validation loss. All also hold what others need to use the weights, the mean and standard deviation of pixels,
and which run they belong to. They hold tensors and plain values only, are read with `weights_only=True`, and
carry a digest of it all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from bnexp import atomic
from bnexp.config import MOST_THREADS
from bnexp.engine.digest import digest
from bnexp.engine.learner import Learner
from bnexp.engine.resemblance import model_fits, stranger
from bnexp.engine.tensor_files import read
from bnexp.errors import CheckpointError

PARTS = ("model", "optimizer", "scaler", "streams", "state")


@dataclass
class TrainState:
    """How far a run is: `step` updates are complete; `threads` is how many its bits depend on.

    best_step: that of best.pt; None while no weights have been the best.
    """

    threads: int
    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int | None = None
    epochs_since_best: int = 0
    latest: dict[str, float] = field(default_factory=dict)


# What a saved state may hold: a wrong number of threads ends the process in torch's own code.
SOUND: Mapping[str, Callable[[Any], bool]] = {
    "threads": lambda value: type(value) is int and 1 <= value <= MOST_THREADS,
    "step": lambda value: _is_count(value),
    "examples": lambda value: _is_count(value),
    "seconds": lambda value: _is_finite(value) and value >= 0,
    "best_loss": lambda value: value is None or _is_finite(value),
    "best_step": lambda value: value is None or _is_count(value),
    "epochs_since_best": lambda value: _is_count(value),
    "latest": lambda value: (
        isinstance(value, dict)
        and all(isinstance(tag, str) and type(number) in (int, float) for tag, number in value.items())
    ),
}


MARKS: Mapping[str, Mapping[str, type]] = {
    "metrics": {"bytes": int, "rows": int, "sha256": str, "row": str},
    "events": {"name": str, "bytes": int, "sha256": str},
}


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read and is whole."""

    path: Path
    content: Mapping[str, Any]
    state: TrainState

    def load(self, learner: Learner) -> None:
        """Bring `learner` to where it was.

        Raises:
            CheckpointError: it is another network's, or not finite.
        """
        if (part := stranger(self.content, learner)) is not None:
            raise _misfit(self.path, part)
        try:
            learner.load_state_dict(dict(self.content))
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise _misfit(self.path, "state") from error
        if not learner.is_finite():
            names = (name for name, tensor in learner.floating_tensors() if not torch.isfinite(tensor).all())
            raise CheckpointError(f"{self.path} must hold finite numbers, and {next(names)} is not")


@dataclass(frozen=True)
class Checkpoints:
    """The files of one run; `about` says in each what the network's inputs are and whose it is."""

    last: Path
    previous: Path
    best: Path
    about: Mapping[str, Any] = field(default_factory=dict)

    def save_last(self, learner: Learner, state: TrainState, files: Mapping[str, Any]) -> None:
        """Save all; `files` tells later whether rows and events are still those of this moment."""
        content = {**learner.state_dict(), "state": asdict(state), "files": dict(files), **self.about}
        write(self.last, content, keep=self.previous)

    def save_best(self, learner: Learner, state: TrainState) -> None:
        write(self.best, {"model": learner.model.state_dict(), "step": state.step, **self.about})

    def load_best(self, learner: Learner, step: int) -> None:
        """Load the weights of update `step`.

        Raises:
            CheckpointError: best.pt is damaged, or does not hold these.
        """
        content = best(self.best, learner)
        if content["step"] != step:
            raise CheckpointError(
                f"{self.best} must hold the weights of step {step}, it has those of {content['step']}: "
                f"delete {self.last} and {self.previous}, and the run starts over"
            )
        learner.model.load_state_dict(content["model"])


def read_last(path: Path) -> Saved:
    """Read a checkpoint to go on from.

    Raises:
        CheckpointError: it is missing, damaged or something else.
    """
    content = whole(path)
    lacking = [part for part in PARTS if part not in content]
    if lacking:
        raise CheckpointError(f"{path} must be a run's own last.pt, it lacks {', '.join(sorted(lacking))}")
    if not _are_marks(content.get("files", {})):
        raise CheckpointError(f"{path} must hold what its rows and events were, as bnexp writes it")
    return Saved(path, content, _state(path, content["state"]))


def best(path: Path, learner: Learner) -> dict[str, Any]:
    """Read the weights and buffers of a network that is `learner`'s, with their `step`.

    Raises:
        CheckpointError: the file is missing or damaged, another network's, or not finite.
    """
    content = whole(path)
    if not model_fits(content.get("model"), learner):
        raise _misfit(path, "model")
    if not _is_count(content.get("step")):
        raise CheckpointError(f"{path} must say of which step its weights are, and does not")
    for name, tensor in content["model"].items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path} must hold finite numbers, and {name} is not")
    return content


def whole(path: Path) -> dict[str, Any]:
    """Read a checkpoint and compare its digest; one of a version that wrote none is taken as it is.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    content = read(path)
    written = content.pop("digest", None)
    if written != digest(content) if written is not None else "run" in content:
        raise CheckpointError(f"{path} is damaged: what it holds does not have the digest written with it")
    return content


def write(path: Path, content: Mapping[str, object], *, keep: Path | None = None) -> None:
    """Save `content` so that `path` is always a whole file, old or new, also when the power fails.

    Args:
        keep: the name that the old file gets.
    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    signed = {**content, "digest": digest(content)}

    def fill(file: IO[bytes]) -> None:
        target = _Remembering(file)
        torch.save(signed, target)  # type: ignore[arg-type]
        if target.error is not None:
            raise target.error

    atomic.write(path, fill, keep=keep)


class _Remembering:
    """A file that keeps its first error: torch would raise another, which hides that the disk is full."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                return self._file.write(data)
            except OSError as error:
                self.error = error
        return len(memoryview(data).cast("B"))

    def flush(self) -> None: ...


def _are_marks(files: object) -> bool:
    """Whether these are marks of a metrics file and of event files; older checkpoints have none."""
    if not isinstance(files, dict) or files.keys() - MARKS.keys():
        return False
    metrics, events = files.get("metrics"), files.get("events", [])
    marked = [("metrics", metrics)] if metrics is not None else []
    if not isinstance(events, list):
        return False
    return all(
        isinstance(mark, dict)
        and {name: type(value) for name, value in mark.items()} == MARKS[kind]
        and 0 <= mark["bytes"] < 2**62
        for kind, mark in [*marked, *(("events", mark) for mark in events)]
    )


def _state(path: Path, saved: object) -> TrainState:
    if not isinstance(saved, dict) or "threads" not in saved or saved.keys() - SOUND.keys():
        raise CheckpointError(f"{path} must hold how far its run is, as bnexp writes it, and does not")
    wrong = [f"{name}={value!r}"[:80] for name, value in saved.items() if not SOUND[name](value)]
    if wrong:
        raise CheckpointError(f"{path} must hold how far its run is, {', '.join(wrong)} cannot be")
    return TrainState(**saved)


def _misfit(path: Path, part: str) -> CheckpointError:
    return CheckpointError(
        f"{path} must fit what config.yaml describes, its {part} does not: put back the run's own files"
    )


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]

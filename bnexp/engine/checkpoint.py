"""What survives a step, and the two files that keep it.

`last.pt` holds everything that a run needs to go on bit for bit: the learner (weights, buffers, optimizer,
loss scaler, random streams) and the `TrainState`. The data order is not in it because it is a function of the
seed and the step. `best.pt` holds the weights and buffers with the lowest validation loss. Both also hold
what others need to use the weights: the mean and standard deviation of pixels. They are written to a
temporary file first, hold tensors and plain values only, and are read with `weights_only=True`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from bnexp.engine.learner import Learner
from bnexp.engine.tensor_files import read
from bnexp.errors import CheckpointError


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


@dataclass(frozen=True)
class Checkpoints:
    """The two files of one run; `inputs` says in both what the network's inputs are."""

    last: Path
    best: Path
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def save_last(self, learner: Learner, state: TrainState) -> None:
        write(self.last, {**learner.state_dict(), "state": asdict(state), **self.inputs})

    def save_best(self, learner: Learner, state: TrainState) -> None:
        write(self.best, {"model": learner.model.state_dict(), "step": state.step, **self.inputs})

    def load_last(self, learner: Learner, device: torch.device) -> TrainState:
        saved = read(self.last, device)
        lacking = {"model", "optimizer", "scaler", "streams", "state"} - saved.keys()
        if lacking:
            raise CheckpointError(
                f"{self.last} must be a run's own last.pt, it lacks {', '.join(sorted(lacking))}"
            )
        try:
            learner.load_state_dict(saved)
            return TrainState(**saved["state"])
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{self.last} must fit the network that config.yaml describes: put back the run's own files"
            ) from error

    def load_best(self, learner: Learner, device: torch.device) -> None:
        learner.model.load_state_dict(read(self.best, device)["model"])


def write(path: Path, content: Mapping[str, object]) -> None:
    """Save `content` so that `path` is always a whole file, old or new, also when the power fails."""
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)

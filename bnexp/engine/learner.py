"""What an update changes, in one place, so that it can be saved, restored and looked at as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnexp.engine.device import Precision
from bnexp.protocols import Batch


@dataclass(frozen=True)
class Passes:
    """One update's forward passes: the mean loss over all their examples, and what accuracy needs."""

    loss: Tensor
    logits: list[Tensor]
    targets: list[Tensor]

    @property
    def num_examples(self) -> int:
        return sum(len(targets) for targets in self.targets)

    def accuracy(self) -> Tensor:
        passes = zip(self.logits, self.targets, strict=True)
        hits = [(logits.argmax(1) == targets).sum() for logits, targets in passes]
        return sum(hits[1:], start=hits[0]) / self.num_examples


@dataclass
class Learner:
    """Network, optimizer, loss scaler and the network's random streams.

    by_step: what changes the network at some steps; each is called with the step, which alone decides.
    watched: tensors that have to stay finite, even under a finite loss.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    precision: Precision
    streams: dict[str, torch.Generator]
    by_step: Sequence[Callable[[int], None]] = ()
    watched: Sequence[Tensor] = ()

    def enter(self, step: int) -> None:
        """Bring the network into the state in which it takes update `step`."""
        for change in self.by_step:
            change(step)

    def compute_gradients(self, group: list[Batch]) -> Passes:
        """Fill the gradients of the mean loss over all examples of `group`, one pass after another."""
        self.optimizer.zero_grad(set_to_none=True)
        total = sum(len(batch) for batch in group)
        losses, logits = [], []
        for batch in group:
            with self.precision.autocast():
                output = self.model(batch.inputs)
                loss = F.cross_entropy(output, batch.targets)
            if len(group) > 1:
                loss = loss * (len(batch) / total)
            torch.autograd.backward(self.scaler.scale(loss))
            losses.append(loss.detach())
            logits.append(output.detach())
        mean = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        return Passes(mean, logits, [batch.targets for batch in group])

    def unscale(self) -> None:
        """Bring the gradients to their true scale, so that they can be looked at."""
        self.scaler.unscale_(self.optimizer)

    def update(self) -> None:
        """Change the weights; under loss scaling an overflow skips the change and lowers the scale."""
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def set_lr(self, multiplier: float) -> float:
        """Set every group's learning rate to its base times `multiplier`; return the first group's."""
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("base_lr", group["lr"]) * multiplier
        return float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """References to the live tensors: clone or save before the next update."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "streams": {name: generator.get_state() for name, generator in self.streams.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        for name, generator in self.streams.items():
            generator.set_state(state["streams"][name])

    def is_finite(self) -> bool:
        """Whether every weight, buffer and optimizer moment is finite (one transfer to the host)."""
        checks = [torch.isfinite(tensor).all() for _, tensor in self.floating_tensors()]
        return bool(torch.stack(checks).all()) if checks else True

    def floating_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All that an update changes, by name, in the order of its change: moments, weights and buffers."""
        kept: list[tuple[str, object]] = []
        for name, parameter in self.model.named_parameters():
            moments = self.optimizer.state.get(parameter, {})
            kept += [(f"{kind} of {name}", value) for kind, value in moments.items()]
        kept += self.model.state_dict().items()
        device = next(self.model.parameters()).device
        for name, tensor in kept:
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.device == device:
                yield name, tensor


def cloned(state: Any) -> Any:
    """Return `state` (nested dicts, lists, tensors, plain values) with every tensor copied."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: cloned(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(cloned(value) for value in state)
    return state

"""Noticing that a loss, or what is watched beside it, is no longer finite, and finding where that began.

On the CPU the loss of every step is read. On an accelerator a flag stays on the device and is read every
`every` steps. Every `every` steps the learner is also copied in memory if all of it is finite: buffers can
overflow under a finite loss. When something is not finite, training is replayed from the latest copy with
checks on every activation, buffer, gradient, moment and weight, because by the time a loss is NaN all weights
usually are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnexp.engine.learner import Learner, cloned
from bnexp.protocols import TrainBatches


@dataclass(frozen=True)
class Divergence:
    """What stopped being finite first, and when.

    first_step: of `origin`, the first non-finite value since the latest copy (an overflow before it that left
        no trace in the weights is not seen); the step of that copy where there is none.
    last_step: when it was noticed, by a loss or by a look at all weights.
    """

    first_step: int
    last_step: int
    origin: str | None


class Sentinel:
    """Watches the losses of one run."""

    def __init__(self, learner: Learner, every: int, on_host: bool) -> None:
        self.learner = learner
        self.every = every
        self.on_host = on_host
        self._snapshot: dict[str, object] = {}
        self._snapshot_step = 0
        self._flag: Tensor | None = None
        self.loss: float | None = None

    def before(self, step: int) -> bool:
        """Copy the learner when due and sound; return whether something non-finite has come to light."""
        if self._snapshot:
            if step - self._snapshot_step < self.every:
                return False
            if self.flagged() or not self.learner.is_finite():
                return True
        self._snapshot = cloned(self.learner.state_dict())
        self._snapshot_step = step
        return False

    def observe(self, loss: Tensor) -> bool:
        """Take note of a step's loss; return whether it, or a watched tensor, is known to be non-finite."""
        watched = [torch.isfinite(tensor).all() for tensor in self.learner.watched]
        if self.on_host:
            self.loss = loss.item()
            return not (math.isfinite(self.loss) and all(watched))
        bad = ~torch.stack([torch.isfinite(loss), *watched]).all()
        self._flag = bad if self._flag is None else self._flag | bad
        return False

    def flagged(self) -> bool:
        """Read the flag that an accelerator's losses have set (waits for the device)."""
        return self._flag is not None and bool(self._flag)

    def trace(self, batches: TrainBatches, schedule: Callable[[int], float], step: int) -> Divergence:
        """Replay from the latest copy up to `step`; the learner is left where the replay ended."""
        self.learner.load_state_dict(self._snapshot)
        origin, first = None, self._snapshot_step
        with torch.compiler.set_stance("force_eager"):
            for replayed in range(self._snapshot_step, step + 1):
                self.learner.enter(replayed)
                self.learner.set_lr(schedule(replayed))
                origin = _first_non_finite(self.learner, batches, replayed)
                if origin:
                    first = replayed
                    break
        return Divergence(first, step, f"{origin} at step {first}" if origin else None)


def _first_non_finite(learner: Learner, batches: TrainBatches, step: int) -> str | None:
    with _watched(learner.model) as seen:
        passes = learner.compute_gradients(batches.group(step))
    if seen or not torch.isfinite(passes.loss):
        return seen[0] if seen else "the loss"
    learner.unscale()
    gradients = [(name, p.grad) for name, p in learner.model.named_parameters() if p.grad is not None]
    if not learner.scaler.is_enabled():
        for name, gradient in reversed(gradients):
            if not torch.isfinite(gradient).all():
                return f"the gradient of {name}"
    learner.update()
    for name, tensor in learner.floating_tensors():
        if not torch.isfinite(tensor).all():
            return f"{name} after the update"
    return None


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[str]]:
    """Collect, in the order of computation, the leaf modules' outputs and buffers that are not finite."""
    seen: list[str] = []

    def check(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            left = [(f"the output of {name}", output)]
            left += [(f"{name}.{kind}", buffer) for kind, buffer in module.named_buffers(recurse=False)]
            for what, tensor in left:
                if isinstance(tensor, Tensor) and not torch.isfinite(tensor).all():
                    seen.append(what)

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(check(name)) for name, module in leaves]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()

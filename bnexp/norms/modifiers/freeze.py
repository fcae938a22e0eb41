"""Freezing norms from some step on: their statistics, their weights and biases, or both."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from bnexp.norms.modifiers.overlay import UNTRACKED, overlay, running_statistics


class Freezable(nn.Module):
    """While `frozen`, training is evaluation to this layer, whatever `train` is told.

    It normalizes by its running statistics, which no longer move; a norm that adds noise in training adds
    none. Gradients reach weight, bias and the input as in evaluation.
    """

    frozen: bool

    def train(self, mode: bool = True) -> Freezable:
        super().train(mode and not self.frozen)
        return self

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, frozen={self.frozen}"


class Freeze:
    """Called with a step, it gives norms the state that they have there: frozen from `after`.

    The state follows from the step alone, so a resumed run is frozen where it should be, and a replayed one
    thaws. A frozen weight has no gradient: optimizers leave it, weight decay and momentum included.

    Args:
        norms: changed in place; names and state dict stay. Those without running statistics have none to
            freeze.
        after: step from which on they are frozen, 0 from the start.
        what: statistics, affine (weights and biases) or both.
    """

    def __init__(self, norms: Collection[nn.Module], *, after: int, what: str) -> None:
        self.after, self.what = after, what
        self.layers = [norm for norm in norms if running_statistics(norm)] if what != "affine" else []
        self.parameters = [p for norm in norms for p in norm.parameters()] if what != "statistics" else []
        for layer in self.layers:
            overlay(layer, Freezable, frozen=False)
        self._frozen = False

    def __call__(self, step: int) -> None:
        frozen = step >= self.after
        if frozen == self._frozen:
            return
        self._frozen = frozen
        for layer in self.layers:
            layer.frozen = frozen  # type: ignore[assignment]
            layer.train()
        for parameter in self.parameters:
            parameter.requires_grad_(not frozen)


def step_of(after: float, total_steps: int) -> int:
    """Return the step that `after` means: itself where it is whole, a fraction of the run below 1."""
    return after if isinstance(after, int) else round(after * total_steps)


def freeze_notes(freeze: Freeze, total_steps: int) -> list[str]:
    """Return a line where freezing does nothing in a run of that length, or less than it says."""
    if not (freeze.layers or freeze.parameters):
        return [
            f"freeze_norm has no effect: {UNTRACKED if freeze.what == 'statistics' else 'nothing to freeze'}"
        ]
    if freeze.after >= total_steps:
        return [f"freeze_norm has no effect: the run ends at step {total_steps}, before step {freeze.after}"]
    if freeze.what == "both" and not freeze.layers:
        return [f"freeze_norm freezes weights and biases alone: {UNTRACKED}"]
    return []

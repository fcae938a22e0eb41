"""What guarding and freezing came to in a network that has been built."""

from __future__ import annotations

from torch import nn

from bnexp.norms.handling.freeze import Freeze
from bnexp.norms.handling.overlay import running_statistics

UNTRACKED = "no norm of this run keeps running statistics"


def norm_notes(model: nn.Module, freeze: Freeze | None, *, guard: str, total_steps: int) -> list[str]:
    """Return a line for each option that does nothing, or less than it says."""
    found = []
    if guard != "none" and not running_statistics(model):
        found.append(f"guard has no effect: {UNTRACKED}")
    if freeze is not None:
        found += _freeze_notes(freeze, total_steps)
    return found


def _freeze_notes(freeze: Freeze, total_steps: int) -> list[str]:
    if not (freeze.layers or freeze.parameters):
        return [
            f"freeze_norm has no effect: {UNTRACKED if freeze.what == 'statistics' else 'nothing to freeze'}"
        ]
    if freeze.after >= total_steps:
        return [f"freeze_norm has no effect: the run ends at step {total_steps}, before step {freeze.after}"]
    if freeze.what == "both" and not freeze.layers:
        return [f"freeze_norm freezes weights and biases alone: {UNTRACKED}"]
    return []

"""Keeping running statistics finite."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from bnexp.norms.contract.traits import BoundNorm
from bnexp.norms.modifiers.overlay import UNTRACKED, buffers, on_copies, overlay, running_statistics, write


class Guarded(nn.Module):
    """A pass that would make a running statistic non-finite leaves all buffers of this layer as they were.

    The output is what it is without the guard. In torch one inf or nan stays in the running averages for
    good: float16 overflows at 65504, and the squares of bfloat16 values overflow float32. Decided on the
    device, without waiting for it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            y: Tensor = super().forward(x)
            return y
        y, later = on_copies(self, super().forward, x)
        floating = [buffer for buffer in later if buffer.is_floating_point()]
        sound = torch.stack([torch.isfinite(buffer).all() for buffer in floating]).all()
        own = [buffer for _, _, buffer in buffers(self)]
        write(self, [torch.where(sound, new, old) for new, old in zip(later, own, strict=True)])
        return y

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, guard=skip"


def guarded(factory: BoundNorm) -> BoundNorm:
    """Return `factory` with a guard around every layer that keeps running statistics."""

    def make(num_features: int, spatial: tuple[int, ...]) -> nn.Module:
        layer = factory(num_features, spatial)
        return overlay(layer, Guarded) if running_statistics(layer) else layer

    return replace(factory, make=make)


def guard_notes(model: nn.Module, guard: str) -> list[str]:
    """Return a line where the knob `guard` has nothing to do in `model`."""
    if guard == "none" or running_statistics(model):
        return []
    return [f"guard has no effect: {UNTRACKED}"]

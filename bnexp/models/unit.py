"""A unit once it has been made: its parts in a row, how they run, and what its options came to."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from bnexp.models.recompute import recomputed
from bnexp.models.weight_standardization import StandardizedConv2d

Shape = tuple[int, ...]
MOST_NAMED = 5


class Unit(nn.Sequential):
    """Named parts, applied in the order in which they stand.

    shape: what one example is when it leaves, (C, H, W) or (features,).
    """

    def __init__(self, parts: dict[str, nn.Module], shape: Shape) -> None:
        super().__init__(OrderedDict(parts))
        self.shape = shape


class FusedUnit(Unit):
    """A unit whose backward pass computes the convolution again instead of keeping its output for the norm.

    Its parts, their names and all values and gradients are those of `Unit`, for any norm: the norm keeps its
    input, the largest thing that it keeps, as the convolution's input and weights, which the convolution
    keeps anyway. Statistics are measured, and buffers moved, in the forward pass alone. A pool between the
    two is covered likewise. The price is one more convolution a step.

    Parts: linear, a convolution, comes first; norm stands somewhere after it.
    Source: the PyTorch tutorial "Fusing Convolution and Batch Norm using Custom Function". Departs from it
        in: the norm's own derivatives are used, so they stay exact, finite for constant channels, and
        differentiable again; any norm, stride, padding, groups and bias.
    """

    in_order = True  # as in Sequential, so that norms can be folded into weights

    linear: nn.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        parts = iter(self.children())
        convolved: Tensor = next(parts)(x)
        y = convolved
        with recomputed(convolved, self.linear, x):
            for part in parts:
                y = part(y)
                if part is self.norm:
                    break
        del convolved
        for part in parts:
            y = part(y)
        return y


def unit_notes(model: nn.Module, *, weight_standardization: bool, fused: bool, compiled: bool) -> list[str]:
    """Return a line for each option that has no effect on `model`, or on some of its convolutions."""
    notes = []
    if weight_standardization and not any(isinstance(m, StandardizedConv2d) for m in model.modules()):
        notes.append("weight_standardization has no effect: this network has no convolution")
    if fused and compiled:
        notes.append("fused has no effect: with compile=true the compiler decides what is computed again")
    elif fused:
        notes += _not_fused(model)
    return notes


def _not_fused(model: nn.Module) -> list[str]:
    units = [(name, unit) for name, unit in model.named_modules() if isinstance(unit, Unit)]
    plain = [
        name
        for name, unit in units
        if not isinstance(unit, FusedUnit) and any(isinstance(part, nn.Conv2d) for part in unit.children())
    ]
    if not any(isinstance(unit, FusedUnit) for _, unit in units):
        return ["fused has no effect: it needs placement=pre, a norm, and a network with convolutions"]
    more = f" and {len(plain) - MOST_NAMED} more" if len(plain) > MOST_NAMED else ""
    names = f"{', '.join(plain[:MOST_NAMED])}{more}"
    return (
        [f"fused leaves out {names}: no norm follows the convolution before its activation"] if plain else []
    )

"""What the options of the units came to in a network that has been built."""

from __future__ import annotations

from torch import nn

from bnexp.models.unit import FusedUnit, Unit
from bnexp.models.weight_standardization import StandardizedConv2d

SHOWN = 5


def unit_notes(model: nn.Module, *, weight_standardization: bool, fused: bool, compiled: bool) -> list[str]:
    """Return a line for each option that has no effect on `model`, or on some of its convolutions."""
    found = []
    if weight_standardization and not any(isinstance(m, StandardizedConv2d) for m in model.modules()):
        found.append("weight_standardization has no effect: this network has no convolution")
    if fused and compiled:
        found.append("fused has no effect: with compile=true the compiler decides what is computed again")
    elif fused:
        found += _not_fused(model)
    return found


def _not_fused(model: nn.Module) -> list[str]:
    units = [(name, unit) for name, unit in model.named_modules() if isinstance(unit, Unit)]
    plain = [
        name
        for name, unit in units
        if not isinstance(unit, FusedUnit) and any(isinstance(part, nn.Conv2d) for part in unit.children())
    ]
    if not any(isinstance(unit, FusedUnit) for _, unit in units):
        return ["fused has no effect: it needs placement=pre, a norm, and a network with convolutions"]
    more = f" and {len(plain) - SHOWN} more" if len(plain) > SHOWN else ""
    left = f"{', '.join(plain[:SHOWN])}{more}"
    return (
        [f"fused leaves out {left}: no norm follows the convolution before its activation"] if plain else []
    )

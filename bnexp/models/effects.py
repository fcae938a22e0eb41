"""What the options of the units came to in a network that has been built."""

from __future__ import annotations

from torch import nn

from bnexp.models.standardized import StandardizedConv2d


def unit_notes(model: nn.Module, *, weight_standardization: bool) -> list[str]:
    """Return a line for each option that has no effect on `model`."""
    if weight_standardization and not any(isinstance(m, StandardizedConv2d) for m in model.modules()):
        return ["weight_standardization has no effect: this network has no convolution"]
    return []

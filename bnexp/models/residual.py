"""Starts for residual networks without norms, in which every block begins as its shortcut.

    plain       the blocks as they are: without a norm the second moment of the stream about doubles in each
    skipinit    each branch ends in a learnable scalar that starts at 0
    fixup       each branch starts at 0 by its last weights, and its first ones are scaled to the depth

A norm divides what it normalizes by its size, so with one a branch adds ever less to a stream that has grown
with depth; these starts give that to networks without.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bnexp.choices import misfits
from bnexp.errors import ConfigError
from bnexp.knobs import refuse
from bnexp.models.part_names import norm_places
from bnexp.models.unit import Unit
from bnexp.models.weight_standardization import StandardizedConv2d


class Scale(nn.Module):
    """y = weight * x, with one learnable number for all values."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Shift(nn.Module):
    """y = x + bias, with one learnable number for all values, which starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


def require_start(residual: str, model: nn.Module, placement: str) -> None:
    """Raise ConfigError unless `residual` is known and `model` is a network that it is for."""
    refuse(misfits("model", residual=residual))
    if residual == "plain":
        return
    if residual == "fixup" and placement == "post":
        # the slope of a ReLU at 0 is 0: nothing would ever reach the zeros before it
        raise ConfigError(
            "model.residual=fixup needs branches that end in a convolution, got placement=post; take "
            "placement=pre or preact, or model.residual=skipinit"
        )
    for name, norm in norm_places(model).items():
        if not isinstance(norm, nn.Identity):
            raise ConfigError(
                f"model.residual={residual} is for networks without norms, got {type(norm).__name__} at "
                f"{name}; take norm=none or model.residual=plain"
            )
    for module in model.modules():
        if residual == "fixup" and isinstance(module, StandardizedConv2d):
            raise ConfigError(
                "model.residual=fixup scales weights, which weight_standardization undoes; take "
                "model.residual=skipinit or weight_standardization=false"
            )


def branch_end(residual: str, *, activated: bool) -> nn.Module:
    """Return what ends a branch; `activated` says that an activation follows the sum with the shortcut."""
    if residual == "plain":
        return nn.Identity()
    if residual == "skipinit":
        return Scale(0.0)
    shift: dict[str, nn.Module] = {"shift": Shift()} if activated else {}
    return nn.Sequential(OrderedDict({"scale": Scale(1.0)} | shift))


def shifted(unit: Unit, before: Sequence[str] = ("linear", "activation")) -> Unit:
    """Return the unit with a `Shift` before each part named in `before`, and no bias in its convolution."""
    parts: dict[str, nn.Module] = {}
    for name, part in unit.named_children():
        parts |= {f"{name}_shift": Shift()} if name in before else {}
        parts[name] = part
        if isinstance(part, nn.Conv2d):
            part.bias = None
    return Unit(parts, unit.shape)


@torch.no_grad()
def fixup(branches: Sequence[tuple[nn.Conv2d, nn.Conv2d]], classifier: nn.Linear) -> None:
    """Turn weights as a scheme has drawn them into Fixup's: in place, for branches of two convolutions.

    The first of each is scaled by L^(-1/2) for L branches (L^(-1/(2m - 2)) for m convolutions), the second
    and the classifier are set to 0.
    """
    for first, last in branches:
        first.weight.mul_(len(branches) ** -0.5)
        last.weight.zero_()
    classifier.weight.zero_()
    classifier.bias.zero_()

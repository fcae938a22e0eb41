"""Where the norms of a network stand: the modules called `norm`, whatever they are, `Identity` included.

Whoever looks for norms asks here, or is handed what this returns. Torch itself is not needed to read names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

NORM = "norm"
WEIGHTED = "linear"  # the weight layer of a unit, see `bnexp.models.blocks`


def norm_places(model: nn.Module) -> dict[str, nn.Module]:
    """Return what stands where a norm may stand, by qualified name, in the order in which it was made.

    What is called `norm` inside a norm is part of it and no place of its own.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if name.rpartition(".")[2] == NORM and not is_of_norm(name.rpartition(".")[0])
    }


def is_of_norm(name: str) -> bool:
    """Whether a module or parameter of that qualified name is a norm, or belongs to one."""
    return NORM in name.split(".")


def unit_of(name: str) -> str:
    """Return the unit of a norm, a weight layer or its weight: `conv1` for `conv1.linear.weight`.

    Other names stay as they are, but for a `.weight` at the end.
    """
    unit = name.removesuffix(f".{NORM}").removesuffix(f".{WEIGHTED}.weight").removesuffix(f".{WEIGHTED}")
    return unit if is_of_norm(unit) else unit.removesuffix(".weight")

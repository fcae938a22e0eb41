"""Dropout whose masks come from a random stream of its own, and the seeding of such streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from bnexp.choices import shared
from bnexp.knobs import refuse
from bnexp.seeding import stream

Function = TypeVar("Function", bound=Callable[..., object])
_outside_graphs: Callable[[Function], Function] = torch.compiler.disable  # it cannot trace a generator


@runtime_checkable
class Noisy(Protocol):
    """A module that draws in its forward pass, from `generator` once it has one."""

    generator: torch.Generator | None


class Dropout(nn.Module):
    """Sets each value to zero with probability p and divides the others by 1 - p, in training only.

    y = x * m / (1 - p), m ~ Bernoulli(1 - p) for each value, drawn anew in each pass; y = x in evaluation.

    Shape: x (*) -> same shape, dtype and memory format. The mask follows the logical order of the values,
    so that it is the same in every memory format.
    Args:
        p: probability of a zero, in [0, 1).
    Raises:
        ConfigError: p lies outside [0, 1).
    Source: Srivastava et al. 2014, JMLR 15, in its inverted form. Departs from torch's layer in: draws from
    `generator` (torch's own stream until `seed_noise` gives it one), and a dropped NaN or infinity is zero.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        refuse(shared("model")["dropout"].problems("dropout", p))
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return self._drop(x)

    @_outside_graphs
    def _drop(self, x: Tensor) -> Tensor:
        dropped = torch.empty(x.shape, dtype=torch.bool, device=x.device)
        dropped.bernoulli_(self.p, generator=self.generator)
        return (x / (1 - self.p)).masked_fill_(dropped, 0.0)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def seed_noise(model: nn.Module, seed: int, device: torch.device | str) -> dict[str, torch.Generator]:
    """Give each noisy module of `model` the stream (seed, "noise", its qualified name) on `device`.

    Returns the generators by those names: a checkpoint that keeps their states resumes the same noise. Call
    it on the bare network: a wrapper would change the names.
    """
    generators = {}
    for name, module in model.named_modules():
        if isinstance(module, Noisy):
            module.generator = stream(seed, "noise", name, device=device)
            generators[name] = module.generator
    return generators

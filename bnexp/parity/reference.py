"""What a layer is compared with: its formula, or itself where none is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bnexp.models.dropout import Noisy
from bnexp.norms.contract.promises import Given, Promises

State = dict[str, Tensor]

SEED = 7
TOTAL_STEPS = 10  # of the run in which the layers stand, for those with a schedule


@dataclass(frozen=True)
class Formula:
    """y as the norm promises it, as a function of x and of changed parameters; no buffer moves."""

    promises: Promises
    state: State
    at: Tensor
    knobs: Mapping[str, Any]
    training: bool
    noise: tuple[Tensor, ...]

    def __call__(self, x: Tensor, changed: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.promises.formula(self._given(x, changed or {}))

    def distance_to_kink(self, x: Tensor) -> float:
        """Return how far the promised kinks are at least, infinite where there are none."""
        if self.promises.kinks is None:
            return math.inf
        return float(self.promises.kinks(self._given(x, {})).abs().min())

    def _given(self, x: Tensor, changed: Mapping[str, Tensor]) -> Given:
        state = {**self.state, **changed}
        return Given(x, self.at, state, self.knobs, self.training, self.noise, TOTAL_STEPS)


@dataclass(frozen=True)
class Itself:
    """y by the layer, as a function of x and of changed parameters, with copies of its buffers."""

    layer: nn.Module

    def __call__(self, x: Tensor, changed: Mapping[str, Tensor] | None = None) -> Tensor:
        return passed(self.layer, x, changed or {})


Reference = Formula | Itself


def passed(
    layer: nn.Module, x: Tensor, parameters: Mapping[str, Tensor], buffers: State | None = None
) -> Tensor:
    """Return layer(x) with these parameters, and buffers or copies of its own: the layer stays as it was."""
    reseed(layer)
    buffers = copies(layer.named_buffers()) if buffers is None else buffers
    y: Tensor = functional_call(layer, {**buffers, **parameters}, (x,))
    return y


def reseed(layer: nn.Module) -> None:
    """Let what the layer draws next be the same each time."""
    torch.manual_seed(SEED)
    for module in layer.modules():
        if isinstance(module, Noisy):
            module.generator = generator(layer)


def generator(layer: nn.Module) -> torch.Generator:
    """Return the generator that `reseed` gives the layer."""
    device = next((tensor.device for tensor in layer.state_dict().values()), torch.device("cpu"))
    return torch.Generator(device).manual_seed(SEED)


def draws(layer: nn.Module) -> bool:
    """Whether the layer draws from a stream of its own."""
    return any(isinstance(module, Noisy) for module in layer.modules())


def copies(named: Iterable[tuple[str, Tensor]]) -> State:
    return {name: tensor.detach().clone() for name, tensor in named}

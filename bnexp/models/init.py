"""Initial weights: each drawn on the CPU from a stream that its own name seeds.

A weight's first value depends on the seed, its qualified name, its shape and the scheme, and on nothing else:
networks that differ in their norm, or in which biases they have, begin alike wherever both have a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from bnexp.knobs import Range, refuse
from bnexp.models.part_names import is_of_norm
from bnexp.seeding import stream

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Scheme(Protocol):
    """Fills one parameter in place; `fan_in` is the number of inputs that one output of its layer sums."""

    def __call__(self, values: Tensor, fan_in: int, generator: Generator) -> object: ...


@runtime_checkable
class OwnStart(Protocol):
    """A network that changes weights after a scheme has drawn them."""

    def adjust_initial_weights(self) -> None: ...


@torch.no_grad()
def initialize(model: nn.Module, scheme: Scheme, seed: int) -> None:
    """Draw every weight and bias of the dense and convolutional layers; norms stay as they were made.

    A network with an `OwnStart` then makes it.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, LAYERS) and not is_of_norm(name):
            fan_in = layer.weight[0].numel()
            for kind, parameter in layer.named_parameters(recurse=False):
                values = torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
                scheme(values, fan_in, stream(seed, "init", f"{name}.{kind}".lstrip(".")))
                parameter.copy_(values)
    if isinstance(model, OwnStart):
        model.adjust_initial_weights()


def default(values: Tensor, fan_in: int, generator: Generator) -> None:
    """Fill weights and biases as torch's layers do: uniform in ±1/sqrt(fan_in).

    Source: torch.nn.Linear and torch.nn.Conv2d (kaiming_uniform_ with a = sqrt(5) is that interval).
    """
    bound = 1 / math.sqrt(fan_in)
    nn.init.uniform_(values, -bound, bound, generator=generator)


def zeros(values: Tensor, fan_in: int, generator: Generator) -> None:
    """Fill everything with zeros: units of one layer stay equal, which shows why weights are drawn."""
    nn.init.zeros_(values)


def normal(values: Tensor, fan_in: int, generator: Generator, *, std: float = 0.01) -> None:
    """Draw weights from N(0, std²); biases are zero.

    Raises:
        ConfigError: std is not a number of at least 0.
    """
    refuse(Range(0).problems("init.std", std))
    _weights_only(values, partial(nn.init.normal_, std=std, generator=generator))


def xavier_normal(values: Tensor, fan_in: int, generator: Generator) -> None:
    """Draw weights from N(0, 2 / (fan_in + fan_out)); biases are zero.

    Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward networks".
    """
    _weights_only(values, partial(nn.init.xavier_normal_, generator=generator))


def xavier_uniform(values: Tensor, fan_in: int, generator: Generator) -> None:
    """Draw weights uniformly in ±sqrt(6 / (fan_in + fan_out)); biases are zero.

    Source: Glorot & Bengio 2010, eq. 16.
    """
    _weights_only(values, partial(nn.init.xavier_uniform_, generator=generator))


def he_normal(values: Tensor, fan_in: int, generator: Generator) -> None:
    """Draw weights from N(0, 2 / fan_in), which keeps variance through ReLUs; biases are zero.

    Source: He et al. 2015, arXiv:1502.01852, §2.2.
    """
    _weights_only(values, partial(nn.init.kaiming_normal_, nonlinearity="relu", generator=generator))


def he_uniform(values: Tensor, fan_in: int, generator: Generator) -> None:
    """Draw weights uniformly in ±sqrt(6 / fan_in), of the variance of `he_normal`; biases are zero.

    Source: He et al. 2015, arXiv:1502.01852, §2.2, with a uniform law of the same variance.
    """
    _weights_only(values, partial(nn.init.kaiming_uniform_, nonlinearity="relu", generator=generator))


def _weights_only(values: Tensor, draw: Callable[[Tensor], Tensor]) -> None:
    if values.ndim == 1:
        nn.init.zeros_(values)
    else:
        draw(values)

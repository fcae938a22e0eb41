"""The unit of every network: a weight layer, its norm, its activation, and pool and dropout if asked.

    placement   order of one unit                  the weight's bias is left out
    pre         linear, norm, activation           where the norm removes the channel mean
    post        linear, activation, norm           likewise, but only where no activation stands between
    preact      norm, activation, linear           likewise, where the next unit's norm follows directly

A pool without padding may stand between the weight and the norm: it moves with a constant as the channel
does. The parts carry the same names whatever the norm (`conv1.linear.weight`, `conv1.norm.weight`), so
networks that differ in their norm share the names, and with them the initial values, of their weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from bnexp.config import ACTIVATIONS, KNOBS
from bnexp.errors import ConfigError, ShapeError
from bnexp.knobs import refuse
from bnexp.models.dropout import Dropout
from bnexp.models.unit import FusedUnit, Shape, Unit
from bnexp.models.weight_standardization import StandardizedConv2d
from bnexp.protocols import NormFactory

_POOLS: dict[str, Callable[[], nn.Module]] = {
    "max": partial(nn.MaxPool2d, 2),
    "avg": partial(nn.AvgPool2d, 2),
}

_ORDERS = {
    "pre": ("flatten", "linear", "early_pool", "norm", "activation", "pool", "dropout"),
    "post": ("flatten", "linear", "early_pool", "activation", "norm", "pool", "dropout"),
    "preact": ("flatten", "norm", "activation", "linear", "early_pool", "pool", "dropout"),
}


class GlobalAverage(nn.Module):
    """The mean over both sides of an image: (N, C, H, W) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


@dataclass(frozen=True)
class Units:
    """Makes every unit of one network alike.

    A norm is built for the size at its own place: (H, W) after the weight, after the pool where a pool comes
    between, before the weight with placement preact; () in a dense unit. A norm that brings its own
    nonlinearity takes the activation's place.

    Args:
        norm: of the body; head_norm: of the dense head.
        placement: pre, post or preact.
        activation: a name in `bnexp.config.ACTIVATIONS`.
        weight_standardization: make every convolution a `StandardizedConv2d`. Dense units and classifiers
            stay plain, as in the method's source.
        fused: make a `FusedUnit` of every convolution that a norm follows directly or after a pool.
    Raises:
        ConfigError: unknown placement or activation; when a unit is made, also a norm or a convolution that
            refuses its place, which is then named.
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, §3.2 (pre); He et al. 2016, arXiv:1603.05027 (preact).
    """

    norm: NormFactory
    head_norm: NormFactory
    placement: str
    activation: str
    weight_standardization: bool = False
    fused: bool = False

    def __post_init__(self) -> None:
        for name in ("placement", "activation"):
            refuse(KNOBS[name].problems(name, getattr(self, name)))

    def conv(
        self,
        name: str,
        shape: Shape,
        channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        early_pool: str | None = None,
        pool: str | None = None,
        dropout: float = 0.0,
        activate: bool = True,
        into_norm: bool = False,
    ) -> Unit:
        """Return a convolutional unit for inputs (C, H, W) = `shape`.

        Args:
            name: the unit's qualified name in the network, for messages.
            early_pool, pool: "max" or "avg" over 2 x 2, right after the weight or at the unit's end.
            activate: False leaves the activation out.
            into_norm: with preact, the unit's output goes into the next unit's norm and nowhere else.
        """
        weighted = _slide(name, shape, channels, kernel_size, stride, padding)
        pooled = _halve(name, weighted) if early_pool else weighted
        left = _halve(name, pooled) if pool else pooled
        place = shape if self.placement == "preact" else pooled
        parts = self._around(name, self.norm, place, dropout, activate)
        parts |= {"early_pool": _POOLS[early_pool]()} if early_pool else {}
        parts |= {"pool": _POOLS[pool]()} if pool else {}
        linear = self._convolution(name, shape, channels, kernel_size, stride, padding)
        removes = _removes_mean(self.norm, left if self.placement == "preact" else place)
        return self._chain(parts, linear, removes, left, into_norm)

    def bare_conv(
        self, name: str, shape: Shape, channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> Unit:
        """Return a convolution with a bias and nothing around it."""
        linear = self._convolution(name, shape, channels, kernel_size, stride, padding)
        return Unit({"linear": linear()}, _slide(name, shape, channels, kernel_size, stride, padding))

    def dense(
        self, name: str, shape: Shape, features: int, *, head: bool = False, dropout: float = 0.0
    ) -> Unit:
        """Return a dense unit for inputs of any `shape`, flattened; `head` gives it the head's norm."""
        factory = self.head_norm if head else self.norm
        inputs = math.prod(shape)
        place = (inputs,) if self.placement == "preact" else (features,)
        parts = self._around(name, factory, place, dropout)
        parts |= {"flatten": nn.Flatten()} if len(shape) > 1 else {}
        removes = _removes_mean(factory, (features,))
        return self._chain(parts, partial(nn.Linear, inputs, features), removes, (features,))

    def closing(self, name: str, shape: Shape) -> Unit:
        """Return norm and activation without a weight: the end of a pre-activation network."""
        return Unit(self._around(name, self.norm, shape), shape)

    def activation_of(self, factory: NormFactory) -> nn.Module | None:
        """Return a new activation, None where the norm brings its own or there is none."""
        if factory.replaces_activation or self.activation == "identity":
            return None
        activation: nn.Module = getattr(nn, ACTIVATIONS[self.activation])()
        return activation

    def _convolution(
        self, name: str, shape: Shape, channels: int, kernel_size: int, stride: int, padding: int
    ) -> Callable[..., nn.Module]:
        kind = StandardizedConv2d if self.weight_standardization else nn.Conv2d

        def make(bias: bool = True) -> nn.Module:
            with _blamed(f"{name}.linear"):
                return kind(shape[0], channels, kernel_size, stride=stride, padding=padding, bias=bias)

        return make

    def _around(
        self, name: str, factory: NormFactory, place: Shape, dropout: float = 0.0, activate: bool = True
    ) -> dict[str, nn.Module]:
        parts = {"norm": _norm(name, factory, place)}
        activation = self.activation_of(factory) if activate else None
        parts |= {"activation": activation} if activation is not None else {}
        parts |= {"dropout": Dropout(dropout)} if dropout != 0 else {}
        return parts

    def _chain(
        self,
        parts: dict[str, nn.Module],
        linear: Callable[..., nn.Module],
        removes_mean: bool,
        shape: Shape,
        into_norm: bool = False,
    ) -> Unit:
        order = [part for part in _ORDERS[self.placement] if part == "linear" or part in parts]
        after = [part for part in order[order.index("linear") + 1 :] if part not in ("early_pool", "pool")]
        meets_norm = after[0] == "norm" if after else into_norm
        parts["linear"] = linear(bias=not (meets_norm and removes_mean))
        ordered = {part: parts[part] for part in order}
        return FusedUnit(ordered, shape) if self.fused and _can_fuse(ordered) else Unit(ordered, shape)


def _can_fuse(parts: dict[str, nn.Module]) -> bool:
    """Whether a norm takes what a convolution returns, directly or through a pool."""
    order = list(parts)
    before = order[: order.index("norm")]
    takes_it = "linear" in before and "activation" not in before
    return takes_it and isinstance(parts["linear"], nn.Conv2d) and not isinstance(parts["norm"], nn.Identity)


def _norm(name: str, factory: NormFactory, place: Shape) -> nn.Module:
    with _blamed(f"{name}.norm"):
        return factory(place[0], place[1:])


@contextmanager
def _blamed(part: str) -> Iterator[None]:
    """Name the part of the network that refuses to be made."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([f"{part}: {problem}" for problem in error.problems]) from error
    except ShapeError as error:
        raise ShapeError(f"{part}: {error}") from error


def _removes_mean(factory: NormFactory, place: Shape) -> bool:
    """Whether the norm at this place, or what stands in for it, makes a bias before it a dead parameter."""
    stands_in = factory.needs_extent and math.prod(place[1:]) == 1
    return factory.removes_channel_mean and not stands_in


def _slide(name: str, shape: Shape, channels: int, kernel_size: int, stride: int, padding: int) -> Shape:
    sides = [(side + 2 * padding - kernel_size) // stride + 1 for side in shape[1:]]
    if min(sides) < 1:
        window, given = f"{kernel_size}x{kernel_size}", f"{shape[1]}x{shape[2]}"
        raise ConfigError(f"{name}: a window of {window} does not fit into {given}; take larger images")
    return (channels, *sides)


def _halve(name: str, shape: Shape) -> Shape:
    return _slide(name, shape, shape[0], kernel_size=2, stride=2, padding=0)

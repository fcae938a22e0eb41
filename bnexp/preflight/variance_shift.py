"""Dropout before a norm with running statistics: how far evaluation's variance falls short of training's.

Inverted dropout with retain probability p makes x into x * m / p, m ~ Bernoulli(p): the mean stays, and the
variance grows by (1/p - 1) E[x^2]. Running statistics average training's variance; evaluation has none of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnexp.models.dropout import Dropout
from bnexp.models.weight_standardization import convolve, kernel

MOST_EXAMPLES = 64
DROPOUTS = (Dropout, nn.Dropout)
WEIGHTS = (nn.Linear, nn.Conv2d)
Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]


@dataclass(frozen=True)
class VarianceShift:
    """A norm behind a dropout. weight: the layer between them, None where the dropout stands right before it.

    retain: probability p of keeping a value.
    ratio: variance in evaluation / variance in training, at the norm without a weight layer between, at that
        layer's outputs with one.
    """

    norm: str
    dropout: str
    weight: str | None
    retain: float
    ratio: float


@dataclass(frozen=True)
class _Trail:
    """A tensor that carries a dropout's noise: `noise` is the variance that it adds to each value."""

    dropout: str
    retain: float
    weight: str | None
    signal: Tensor
    noise: Tensor


def variance_shifts(model: nn.Module, norms: Collection[str], inputs: Tensor) -> list[VarianceShift]:
    """Return the shift at each module of `norms` that a dropout reaches through at most one weight layer.

    ratio = v / ((c^2 + v)/p - c^2) for an input of the dropout with mean c and variance v, p itself where
    c = 0. With a weight layer between, noise of variance (1/p - 1) sum_i w_i^2 E[x_i^2] joins an output whose
    variance v also holds what the inputs' correlations give: ratio = v / (v + noise), nearer to 1. Both are
    measured on `inputs` at the weights that the network has now, over all values and channels. A pool or an
    activation behind the weight layer is passed over; what cannot be followed (a sum) ends the search.

    Args:
        norms: qualified names of norms that normalize by running statistics in evaluation.
        inputs: examples (N, C, H, W) of the training split; the first 64 are used.
    Source: Li et al. 2019, "Understanding the disharmony between dropout and batch normalization by variance
        shift", arXiv:1801.05134, sections 3.1 and 3.2. Departs from it in: no weight is assumed independent
        of the inputs.
    """
    if not any(isinstance(module, DROPOUTS) and module.p > 0 for module in model.modules()):
        return []
    trial = copy.deepcopy(model).train()
    search = _Search(norms)
    for name, module in trial.named_modules():
        if isinstance(module, DROPOUTS):
            module.eval()
        if name in norms or not list(module.children()):
            module.register_forward_hook(search.hook(name))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        trial(inputs[:MOST_EXAMPLES])
    return search.shifts


class _Search:
    """Follows tensors from module to module by their identity."""

    def __init__(self, norms: Collection[str]) -> None:
        self._norms = norms
        self._trails: dict[int, tuple[Tensor, _Trail]] = {}
        self.shifts: list[VarianceShift] = []

    def hook(self, name: str) -> Hook:
        def follow(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            x = inputs[0]
            if isinstance(module, DROPOUTS) and module.p > 0:
                # in evaluation a dropout returns x itself, which may also go elsewhere
                output = output.view_as(output)
                self._keep(output, _Trail(name, 1 - module.p, None, x, (1 / (1 - module.p) - 1) * x.square()))
                return output
            held, trail = self._trails.get(id(x), (None, None))
            if held is x and trail is not None:
                self._pass(name, module, trail, output)
            return None

        return follow

    def _pass(self, name: str, module: nn.Module, trail: _Trail, output: Tensor) -> None:
        if name in self._norms:
            self.shifts.append(VarianceShift(name, trail.dropout, trail.weight, trail.retain, _ratio(trail)))
        elif isinstance(module, WEIGHTS):
            if trail.weight is None:
                noise = _through(module, trail.noise)
                self._keep(output, _Trail(trail.dropout, trail.retain, name, output, noise))
        elif trail.weight is not None:
            self._keep(output, trail)
        elif isinstance(module, nn.Flatten):
            noise = module(trail.noise)
            self._keep(output, _Trail(trail.dropout, trail.retain, None, output, noise))

    def _keep(self, output: Tensor, trail: _Trail) -> None:
        self._trails[id(output)] = output, trail  # held, so that its id stays its own


def _through(weight: nn.Linear | nn.Conv2d, noise: Tensor) -> Tensor:
    """Return the variance of the outputs for independent noise in the inputs: each weight counts squared."""
    if isinstance(weight, nn.Linear):
        return F.linear(noise, weight.weight.square())
    return convolve(weight, noise, kernel(weight, weight.weight).square())


def _ratio(trail: _Trail) -> float:
    dims = [axis for axis in range(trail.signal.dim()) if axis != 1]
    var = trail.signal.double().var(dims, correction=0).sum()
    total = var + trail.noise.double().mean(dims).sum()
    return float(var / total) if total > 0 else 1.0

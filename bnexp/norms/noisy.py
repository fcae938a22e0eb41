"""Batch norm followed by noise of its own: as unstable as no norm, yet trained like one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from bnexp.choices import Core, RunningVar
from bnexp.knobs import Range, refuse
from bnexp.norms.arithmetic.correction import normalize_rescaled
from bnexp.norms.contract import formulas
from bnexp.norms.contract.promises import Given, Knobs, Promises
from bnexp.norms.custom import CustomNorm, batch_norm_formula, torch_batch_norm

Function = TypeVar("Function", bound=Callable[..., object])
_outside_graphs: Callable[[Function], Function] = torch.compiler.disable  # it cannot trace a generator


def formula(given: Given) -> Tensor:
    """Santurkar et al. 2018, section 2.1: batch norm, then a scale and shift for each example and channel."""
    if not given.training:
        return batch_norm_formula(given)
    scale, shift = (drawn.reshape(*drawn.shape, *(1 for _ in given.x.shape[2:])) for drawn in given.noise)
    return batch_norm_formula(given) * scale + shift


def promised_noise(
    shape: tuple[int, ...], knobs: Knobs, dtype: torch.dtype, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Return scale and shift, (N, C): s ~ Normal(sigma, spread^2) and m ~ Uniform(mu - spread, mu + spread),
    with mu ~ Uniform(-max_shift, max_shift) and sigma ~ Uniform(1, max_scale) for each channel.

    In the order in which the layer draws: mu, sigma, m, s.
    """
    spread, last, channels = knobs["spread"], knobs["max_shift"], shape[1:2]

    def drawn(size: tuple[int, ...]) -> Tensor:
        return torch.empty(size, dtype=dtype, device=generator.device)

    mu = drawn(channels).uniform_(-last, last, generator=generator)
    sigma = drawn(channels).uniform_(1, knobs["max_scale"], generator=generator)
    shift = mu + drawn(shape[:2]).uniform_(-spread, spread, generator=generator)
    scale = sigma + spread * drawn(shape[:2]).normal_(0, 1, generator=generator)
    return scale.double(), shift.double()


@Promises(formula, formulas.averaged_moments, torch_batch_norm, torch_trains_alike=False, draw=promised_noise)
class NoisyNorm(CustomNorm):
    """Normalize as batch norm does; in training, scale and shift the result by noise.

    y = s * batch_norm(x) + m, with s ~ Normal(sigma, spread^2) and m ~ Uniform(mu - spread, mu + spread) for
    each example and channel. Their own centres are drawn for each channel anew in each training pass,
    mu ~ Uniform(-max_shift, max_shift) and sigma ~ Uniform(1, max_scale), so that the distribution after the
    norm jumps from step to step: mean and variance are neither 0 and 1 nor stable. Evaluation has no noise.

    Shape: x (N, C) or (N, C, *), * up to three axes -> same shape, dtype and memory format.
        weight, bias, running_mean, running_var: (C,), named as in torch, so state dicts go both ways.
    Args:
        num_features, spatial, eps, momentum, affine, track_running_stats, running_var, core: as in
            `CustomNorm`.
        max_shift: at least 0.
        max_scale: at least 1.
        spread: at least 0.
    Raises:
        ConfigError: as in `CustomNorm`, or a range of the noise is impossible.
        ShapeError: x does not fit, or one value per channel where the batch is to be measured.
    Precision: float16 and bfloat16 are computed in float32 and cast back; float64 stays float64.
    Source: Santurkar et al. 2018, arXiv:1805.11604, section 2.1 and its appendix. Departs from it in: all
        positions of a feature map share the example's noise; draws from `generator` (torch's own stream until
        it is given one). The constants are not checked against the paper.
    """

    def __init__(
        self,
        num_features: int,
        spatial: tuple[int, ...],
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        running_var: RunningVar = "unbiased",
        max_shift: float = 0.5,
        max_scale: float = 1.25,
        spread: float = 0.1,
        core: Core = "auto",
    ) -> None:
        super().__init__(
            num_features,
            spatial,
            eps=eps,
            momentum=momentum,
            affine=affine,
            track_running_stats=track_running_stats,
            running_var=running_var,
            core=core,
        )
        ranges = ("max_shift", max_shift, 0), ("max_scale", max_scale, 1), ("spread", spread, 0)
        refuse([line for name, value, least in ranges for line in Range(least).problems(name, value)])
        self.max_shift, self.max_scale, self.spread = max_shift, max_scale, spread
        self.generator: torch.Generator | None = None

    def _normalize(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not self.training:
            return super()._normalize(x)
        scale_NC, shift_NC = self._draw(x)
        return normalize_rescaled(x, self.weight, self.bias, self.eps, self.core, scale_NC, shift_NC)

    @_outside_graphs
    def _draw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return s and m, (N, C), float32 or wider."""
        wide = torch.promote_types(x.dtype, torch.float32)
        empty, g = partial(torch.empty, dtype=wide, device=x.device), self.generator
        mu_C = empty(self.num_features).uniform_(-self.max_shift, self.max_shift, generator=g)
        sigma_C = empty(self.num_features).uniform_(1, self.max_scale, generator=g)
        shape = x.shape[:2]
        shift_NC = mu_C + empty(shape).uniform_(-self.spread, self.spread, generator=g)
        return sigma_C + empty(shape).normal_(0, self.spread, generator=g), shift_NC

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, max_shift={self.max_shift}, max_scale={self.max_scale}"

"""What each norm must compute: the papers' formulas in plain float64 operations, one function a kind.

Nothing here is shared with the layers under test: moments are two passes written out, and derivatives are
left to autograd, which sees the formula and no hand-written backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Given:
    """All that decides a norm's output; tensors are float64.

    x: (N, C, *). at: the point at which what a norm treats as a constant is taken; its backward pass does not
    go through it, so differences must not either.
    state: parameters and buffers by name, as they are before the pass.
    noise: what the layer draws in this pass, as `Kind.draw` gives it.
    total_steps: the length of the run, for norms with a schedule.
    """

    x: Tensor
    at: Tensor
    state: Mapping[str, Tensor]
    knobs: Mapping[str, Any]
    training: bool
    noise: tuple[Tensor, ...] = ()
    total_steps: int = 1


def identity(given: Given) -> Tensor:
    return given.x


def batch(given: Given) -> Tensor:
    """Ioffe & Szegedy 2015, Alg. 1 in training and Alg. 2, line 11 in evaluation, as torch reads them."""
    if given.training or "running_mean" not in given.state:
        return _affine(_standardized(given.x, _all_but_channels(given.x), given.knobs["eps"]), given.state)
    return frozen(given)


def frozen(given: Given) -> Tensor:
    """Ioffe & Szegedy 2015, Alg. 2, line 11, by the running statistics, which are constants."""
    mean, var = (_across(given.state[name], given.x) for name in ("running_mean", "running_var"))
    return _affine((given.x - mean) / (var + given.knobs["eps"]).sqrt(), given.state)


def group(given: Given) -> Tensor:
    """Wu & He 2018, eq. 1-7."""
    x, eps = given.x, given.knobs["eps"]
    groups = groups_of(x.shape[1], math.prod(x.shape[2:]), given.knobs["num_groups"])
    grouped = _by_group(x, groups)
    xhat = _standardized(grouped, tuple(range(2, grouped.dim())), eps)
    return _affine(xhat.reshape(x.shape), given.state)


def layer(given: Given) -> Tensor:
    """Ba, Kiros & Hinton 2016, eq. 3: over all of an example, with a weight for each element."""
    y = _standardized(given.x, tuple(range(1, given.x.dim())), given.knobs["eps"])
    return y * given.state["weight"] + given.state["bias"] if "weight" in given.state else y


def layer_group(given: Given) -> Tensor:
    """Wu & He 2018, section 3.1: over all of an example, with a weight for each channel."""
    return _affine(_standardized(given.x, tuple(range(1, given.x.dim())), given.knobs["eps"]), given.state)


def layer_pixel(given: Given) -> Tensor:
    """Liu et al. 2022, section 2.6: over the channels of one position."""
    return _affine(_standardized(given.x, (1,), given.knobs["eps"]), given.state)


def instance(given: Given) -> Tensor:
    """Ulyanov et al. 2016, eq. 4: over the positions of one channel; `layer` where there is one position."""
    if math.prod(given.x.shape[2:]) == 1:
        return layer(given)
    return _affine(_standardized(given.x, _positions(given.x), given.knobs["eps"]), given.state)


def rms(given: Given) -> Tensor:
    """Zhang & Sennrich 2019, eq. 4: by the root mean square of the channels of one position."""
    mean_square = (given.x**2).sum(1, keepdim=True) / given.x.shape[1]
    return _affine(given.x / (mean_square + given.knobs["eps"]).sqrt(), given.state)


def renorm(given: Given) -> Tensor:
    """Ioffe 2017, Alg. 1: r and d are constants, by the averages of before the batch."""
    if not given.training:
        return frozen(given)
    x, eps, axes = given.x, given.knobs["eps"], _all_but_channels(given.x)
    running_mean, running_var = (_across(given.state[name], x) for name in ("running_mean", "running_var"))
    mean, var = moments(given.at, axes)
    running_std, (r_max, d_max) = (running_var + eps).sqrt(), renorm_limits(given)
    r = ((var + eps).sqrt() / running_std).clamp(1 / r_max, r_max)
    d = ((mean - running_mean) / running_std).clamp(-d_max, d_max)
    return _affine(_standardized(x, axes, eps) * r + d, given.state)


def renorm_limits(given: Given) -> tuple[float, float]:
    """Ioffe 2017, section 4, in fractions of the run: from (1, 0), linearly to (r_max, d_max)."""
    knobs, done = given.knobs, float(given.state["num_batches_tracked"]) / given.total_steps
    start = knobs["plain_frac"]
    r_share, d_share = (
        min(1.0, max(0.0, (done - start) / (knobs[name] - start))) for name in ("r_full_frac", "d_full_frac")
    )
    return 1 + r_share * (knobs["r_max"] - 1), d_share * knobs["d_max"]


def frn(given: Given) -> Tensor:
    """Singh & Krishnan 2020, eq. 1-4; where a channel is one value, with a learned eps besides."""
    mean_square = given.x**2
    if given.x.dim() > 2:  # a sum over no axes would be one over all
        mean_square = mean_square.sum(_positions(given.x), keepdim=True) / math.prod(given.x.shape[2:])
    learned = given.state.get("learned_eps")
    eps = given.knobs["eps"] + (0.0 if learned is None else learned.abs())
    y = _affine(given.x / (mean_square + eps).sqrt(), given.state)
    return y.maximum(_across(given.state["tau"], y))


def evonorm_b0(given: Given) -> Tensor:
    """Liu et al. 2020, Table 1, B0; with one value per channel the example's variance is 0."""
    x, eps = given.x, given.knobs["eps"]
    batch_var = _across(given.state["running_var"], x)
    if given.training:
        batch_var = moments(x, _all_but_channels(x))[1]
    example_var = moments(x, _positions(x))[1] if x.dim() > 2 else torch.zeros_like(x)
    line = _across(given.state["v"], x) * x + (example_var + eps).sqrt()
    return _affine(x / (batch_var + eps).sqrt().maximum(line), given.state)


def evonorm_s0(given: Given) -> Tensor:
    """Liu et al. 2020, Table 1, S0."""
    x, eps = given.x, given.knobs["eps"]
    grouped = _by_group(x, groups_of(x.shape[1], math.prod(x.shape[2:]), given.knobs["num_groups"]))
    var = moments(grouped, tuple(range(2, grouped.dim())))[1].expand_as(grouped).reshape(x.shape)
    gate = 1 / (1 + (-_across(given.state["v"], x) * x).exp())
    return _affine(x * gate / (var + eps).sqrt(), given.state)


def noisy(given: Given) -> Tensor:
    """Santurkar et al. 2018, section 2.1: batch norm, then a scale and shift for each example and channel."""
    if not given.training:
        return batch(given)
    scale, shift = (drawn.reshape(*drawn.shape, *(1 for _ in given.x.shape[2:])) for drawn in given.noise)
    return batch(given) * scale + shift


def draw_noise(
    shape: tuple[int, ...], knobs: Mapping[str, Any], dtype: torch.dtype, generator: torch.Generator
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


def _by_group(x: Tensor, groups: int) -> Tensor:
    """Return x as (N, groups, channels of a group, *), a view."""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def groups_of(num_features: int, positions: int, asked: object) -> int:
    """Return the number of groups: for "auto" the largest divisor of C up to 32 that leaves a group at least
    2 channels, or 8 where a channel is one value; 1 where none does.
    """
    if isinstance(asked, int):
        return asked
    least = 8 if positions == 1 else 2
    fitting = [g for g in range(1, 33) if num_features % g == 0 and num_features >= least * g]
    return max(fitting, default=1)


def _standardized(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    mean, var = moments(x, axes)
    return (x - mean) / (var + eps).sqrt()


def moments(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance over `axes`, which are kept with size 1."""
    n = math.prod(x.shape[axis] for axis in axes)
    mean = x.sum(axes, keepdim=True) / n
    return mean, ((x - mean) ** 2).sum(axes, keepdim=True) / n


def _all_but_channels(x: Tensor) -> tuple[int, ...]:
    return (0, *range(2, x.dim()))


def _positions(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


def _across(v_C: Tensor, x: Tensor) -> Tensor:
    return v_C.reshape(1, -1, *(1 for _ in x.shape[2:]))


def _affine(xhat: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    y = xhat * _across(state["weight"], xhat) if "weight" in state else xhat
    return y + _across(state["bias"], xhat) if "bias" in state else y

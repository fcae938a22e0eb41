"""Where batch normalization can lose digits: moments, the inverse root, running averages, the backward pass.

Shapes: x, y, dy are (N, C, *); a name in _C is one value per channel, (C,). n = numel / C is the count behind
each moment. `batch_var` is biased (/n), `running_var` unbiased (/(n - 1)).

Functions that end in `_from` build new tensors only, so autograd, torch.func and torch.compile see through
them. The others reuse one buffer for several steps: on a CPU, first touching fresh memory costs more than the
arithmetic done in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ALL_BUT_CHANNELS = {2: (0,), 3: (0, 2), 4: (0, 2, 3), 5: (0, 2, 3, 4)}


def widen(x: Tensor) -> Tensor:
    """Return x in float32 or wider: sums of float16 overflow at 65504, and bfloat16 keeps 8 bits of them."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return x in dtype; asking first is cheaper than a conversion that does nothing."""
    return x if x.dtype is dtype else x.to(dtype)


def across(v_C: Tensor, ndim: int) -> Tensor:
    """Return (C,) seen as (C, 1, ...), to broadcast along the channels of a tensor of ndim axes."""
    return v_C if ndim == 2 else v_C.view(-1, *(1,) * (ndim - 2))


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), batch_var (C,) and x - mean of a float32 or float64 batch; records no graph.

    E[x^2] - E[x]^2 cancels: with mean/std = 1e3 in float32 nothing of the variance is left. So squares are
    taken of centred values, the rounding error of the mean is measured on them and removed:
    r = E[x - m], mean = m + r, batch_var = E[(x - m)^2] - r^2, with r of the size of m's last digits.
    The clamp keeps a constant channel, where both terms are rounding noise, from going below zero.
    Source: Chan, Golub & LeVeque 1983, The American Statistician 37(3), the corrected two-pass algorithm.
    """
    ndim, dims, n = x.dim(), ALL_BUT_CHANNELS[x.dim()], x.numel() // x.shape[1]
    mean_C = x.sum(dims).div_(n)
    centred = x - across(mean_C, ndim)
    residual_C = centred.sum(dims)
    squares_C = centred.square_().sum(dims).addcmul_(residual_C, residual_C, value=-1 / n)
    mean_C.add_(residual_C, alpha=1 / n)
    torch.sub(x, across(mean_C, ndim), out=centred)
    return mean_C, squares_C.div_(n).clamp_min_(0), centred


def moments_from(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (C,) and batch_var (C,) as `batch_moments` does, differentiable any number of times.

    The mean as first found is only a point to measure from, hence a constant to autograd.
    """
    ndim, dims = x.dim(), ALL_BUT_CHANNELS[x.dim()]
    pivot_C = x.detach().mean(dims)
    shifted = x - across(pivot_C, ndim)
    residual_C = shifted.mean(dims)
    return pivot_C + residual_C, (shifted - across(residual_C, ndim)).square().mean(dims)


def merged_moments(counts_G: Tensor, means_GC: Tensor, vars_GC: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (C,) and biased var (C,) of all values of G parts, given each part's count and moments.

    N var = sum_g n_g var_g + sum_g n_g (mean_g - mean)^2 with N = sum_g n_g: sums of squares about each
    part's own mean do not cancel as E[x^2] - mean^2 does. A part without values has no weight, whatever
    moments it brings; without any value at all both are NaN.
    Source: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm", eq. 2.1, for G parts.
    """
    share_G1 = (counts_G / counts_G.sum()).unsqueeze(1)
    mean_C = (share_G1 * means_GC).sum(0)
    return mean_C, (share_G1 * (vars_GC + (means_GC - mean_C).square())).sum(0)


def inverse_std(var_C: Tensor, eps: float) -> Tensor:
    """Return 1 / sqrt(var + eps); eps inside the root bounds value and slope where a channel is constant.

    With sqrt(var) + eps the gradient of a constant channel would be 0/0.
    """
    return torch.rsqrt(var_C + eps)


def unbiased(batch_var_C: Tensor, n: int) -> Tensor:
    """Return batch_var * n / (n - 1), what running_var averages; at n = 2 the biased one is half of it."""
    return batch_var_C * (n / (n - 1))


def move(buffer_C: Tensor, batch_value_C: Tensor, momentum: float | Tensor) -> None:
    """Set buffer = (1 - momentum) * buffer + momentum * batch_value in place, in the buffer's dtype.

    In place, because other holders (a checkpoint, a replica) keep references to the buffer; as a linear
    interpolation, because then a buffer that equals the batch value stays exactly where it is.
    """
    # not lerp_, for which torch.vmap has no rule
    buffer_C.copy_(torch.lerp(buffer_C, cast(batch_value_C, buffer_C.dtype), momentum))


def move_std(running_var_C: Tensor, batch_var_C: Tensor, eps: float, momentum: float | Tensor) -> None:
    """Move std = sqrt(running_var + eps) towards sqrt(batch_var + eps) as `move` does, kept as running_var.

    The clamp keeps a constant channel, of std sqrt(eps), from a variance below zero by rounding.
    """
    running_std_C = torch.sqrt(widen(running_var_C) + eps)
    batch_std_C = cast(torch.sqrt(batch_var_C + eps), running_std_C.dtype)
    moved_C = torch.lerp(running_std_C, batch_std_C, momentum)
    running_var_C.copy_((moved_C.square() - eps).clamp_min(0))


def corrections(
    mean_C: Tensor,
    batch_var_C: Tensor,
    running_mean_C: Tensor,
    running_var_C: Tensor,
    eps: float,
    limits: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Return r and d, constants to autograd: unclipped, xhat * r + d = (x - running_mean) / running_std.

    r = clip(batch_std / running_std, 1 / r_max, r_max) and d = clip((mean - running_mean) / running_std,
    -d_max, d_max) for limits = (r_max, d_max) and std = sqrt(var + eps); eps keeps both finite where a
    channel is constant, in the batch or in the running average.
    Source: Ioffe 2017, arXiv:1702.03275, Alg. 1.
    """
    r_max, d_max = limits
    running_rstd_C = inverse_std(widen(running_var_C), eps)
    r_C = torch.clamp(torch.sqrt(batch_var_C + eps) * running_rstd_C, r_max.reciprocal(), r_max)
    d_C = torch.clamp((mean_C - running_mean_C) * running_rstd_C, -d_max, d_max)
    return r_C.detach(), d_C.detach()


def scale(rstd_C: Tensor, weight_C: Tensor | None) -> Tensor:
    """Return weight * rstd, the slope of y in x - mean."""
    return rstd_C if weight_C is None else rstd_C * weight_C


def scale_shift(centred: Tensor, scale_C: Tensor, bias_C: Tensor | None) -> Tensor:
    """Overwrite centred with scale * centred + bias and return it.

    The mean is already gone: x * scale + (bias - mean * scale) would cancel where mean/std is large.
    """
    centred.mul_(across(scale_C, centred.dim()))
    return centred if bias_C is None else centred.add_(across(bias_C, centred.dim()))


def normalized_from(
    x: Tensor, mean_C: Tensor, rstd_C: Tensor, weight_C: Tensor | None, bias_C: Tensor | None
) -> Tensor:
    """Return weight * (x - mean) * rstd + bias in x's dtype, differentiable in every tensor."""
    ndim = x.dim()
    y = (widen(x) - across(mean_C, ndim)) * across(scale(rstd_C, weight_C), ndim)
    return cast(y if bias_C is None else y + across(bias_C, ndim), x.dtype)


def rescale(y: Tensor, factor: Tensor, shift: Tensor) -> None:
    """Set y to y * factor + shift in place, factor and shift (C,), or (N, C) by example; records no graph."""
    torch.addcmul(spread(shift, y.dim()), y, spread(factor, y.dim()), out=y)


def rescaled_from(y: Tensor, factor: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    """Return in dtype what `rescale` gives; y is kept for the backward pass only if factor has a gradient."""
    return cast(torch.addcmul(spread(shift, y.dim()), y, spread(factor, y.dim())), dtype)


def spread(v: Tensor, ndim: int) -> Tensor:
    """Return (C,) as `across` does, or (N, C) seen as (N, C, 1, ...)."""
    return across(v, ndim) if v.dim() == 1 else v.view(*v.shape, *(1,) * (ndim - 2))


def gradients_from(
    dy: Tensor, x: Tensor, mean_C: Tensor, rstd_C: Tensor, weight_C: Tensor | None, *, by_batch: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx, dweight = sum(dy * xhat) and dbias = sum(dy) for xhat = (x - mean) * rstd.

    dx = weight * rstd * (dy - dbias / n - xhat * dweight / n) where mean and rstd are the batch's own: both
    depend on every x of the channel, and the two subtracted terms are their share. By given moments they are
    absent.
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, section 3, its chain of six derivatives collected.
    """
    ndim, dims, n = x.dim(), ALL_BUT_CHANNELS[x.dim()], x.numel() // x.shape[1]
    xhat = (x - across(mean_C, ndim)) * across(rstd_C, ndim)
    dweight_C, dbias_C = (dy * xhat).sum(dims), dy.sum(dims)
    if by_batch:
        dy = dy - across(dbias_C / n, ndim) - xhat * across(dweight_C / n, ndim)
    return dy * across(scale(rstd_C, weight_C), ndim), dweight_C, dbias_C


def tangent_from(
    tangents: Sequence[Tensor | None],
    x: Tensor,
    mean_C: Tensor,
    rstd_C: Tensor,
    weight_C: Tensor | None,
    *,
    by_batch: bool,
) -> Tensor:
    """Return the change of y along tangents of x, weight and bias, None where one of them stays.

    A channel's Jacobian dy/dx is a symmetric matrix, so `gradients_from` applies it to a tangent as well.
    """
    of_x, of_weight_C, of_bias_C = tangents
    wide, ndim = widen(x), x.dim()
    of_y = torch.zeros_like(wide)
    if of_x is not None:
        of_y = gradients_from(widen(of_x), wide, mean_C, rstd_C, weight_C, by_batch=by_batch)[0]
    if of_weight_C is not None:
        of_y = of_y + (wide - across(mean_C, ndim)) * across(rstd_C * of_weight_C, ndim)
    return cast(of_y if of_bias_C is None else of_y + across(of_bias_C, ndim), x.dtype)


def parameter_gradients(
    dy: Tensor, x: Tensor, mean_C: Tensor, rstd_C: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dweight, dbias and a buffer of x's shape to go on with, all outside the graph.

    x is centred before it is multiplied: sum(dy * x) - mean * sum(dy) cancels as E[x^2] - E[x]^2 does.
    """
    dims = ALL_BUT_CHANNELS[x.dim()]
    buffer = x - across(mean_C, x.dim())
    return buffer.mul_(dy).sum(dims).mul_(rstd_C), dy.sum(dims), buffer


def input_gradient(
    dy: Tensor,
    x: Tensor,
    mean_C: Tensor,
    rstd_C: Tensor,
    weight_C: Tensor | None,
    sums_C: tuple[Tensor, Tensor],
    *,
    out: Tensor,
) -> Tensor:
    """Return dx of `gradients_from` by the batch's moments, given dweight and dbias, written into `out`."""
    dweight_C, dbias_C = sums_C
    ndim, n = x.dim(), x.numel() // x.shape[1]
    torch.sub(x, across(mean_C, ndim), out=out)
    torch.addcmul(dy, out, across(dweight_C * rstd_C, ndim), value=-1 / n, out=out)
    return out.sub_(across(dbias_C, ndim), alpha=1 / n).mul_(across(scale(rstd_C, weight_C), ndim))

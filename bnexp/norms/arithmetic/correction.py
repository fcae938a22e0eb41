"""Batch normalization whose output is rescaled before it leaves: one node of the graph for both steps.

Each function does what `normalize_by_batch` followed by `moments.rescaled_from` does, in one more pass over
memory that is at hand instead of two over fresh memory. Under torch.func, forward mode and torch.compile it
is done that way. Shapes and names as in `moments`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.compiler import is_compiling

from bnexp import private
from bnexp.norms.arithmetic import compiled, moments
from bnexp.norms.arithmetic.derivatives import Gradient, normalize_by_batch

Correct = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Normalized = tuple[Tensor, Tensor, Tensor]


def normalize_corrected(
    x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float, core: str, correct: Correct
) -> Normalized:
    """Return y = weight * (xhat * r + d) + bias, mean and batch_var, with r, d = correct(mean, batch_var).

    y alone is differentiable; r and d are constants to it.
    """
    if _plain(x):
        found: Normalized = _Corrected.apply(x, weight_C, bias_C, eps, core, correct)
        return found
    y, mean_C, batch_var_C = normalize_by_batch(moments.widen(x), weight_C, None, eps, core)
    r_C, d_C = correct(mean_C, batch_var_C)
    return moments.rescaled_from(y, r_C, _shift(d_C, weight_C, bias_C), x.dtype), mean_C, batch_var_C


def normalize_rescaled(
    x: Tensor,
    weight_C: Tensor | None,
    bias_C: Tensor | None,
    eps: float,
    core: str,
    factor_NC: Tensor,
    shift_NC: Tensor,
) -> Normalized:
    """Return y = factor * (weight * xhat + bias) + shift, mean and batch_var.

    y alone is differentiable, and not in factor and shift.
    """
    if _plain(x):
        found: Normalized = _Rescaled.apply(x, weight_C, bias_C, eps, core, factor_NC, shift_NC)
        return found
    y, mean_C, batch_var_C = normalize_by_batch(moments.widen(x), weight_C, bias_C, eps, core)
    return moments.rescaled_from(y, factor_NC, shift_NC, x.dtype), mean_C, batch_var_C


def _plain(x: Tensor) -> bool:
    special = is_compiling() or private.transforms_active() or private.dual_level_active()
    return not special and x.numel() > 0


def _shift(d_C: Tensor, weight_C: Tensor | None, bias_C: Tensor | None) -> Tensor:
    shift_C = d_C if weight_C is None else d_C * weight_C
    return shift_C if bias_C is None else shift_C + bias_C


class _Corrected(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_C: Tensor | None,
        bias_C: Tensor | None,
        eps: float,
        core: str,
        correct: Correct,
    ) -> Normalized:
        y, mean_C, batch_var_C, rstd_C = _by_batch(x, weight_C, None, eps, core)
        r_C, d_C = correct(mean_C, batch_var_C)
        moments.rescale(y, r_C, _shift(d_C, weight_C, bias_C))
        ctx.eps, ctx.core = eps, core
        ctx.mark_non_differentiable(mean_C, batch_var_C)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight_C, mean_C, rstd_C, r_C, d_C)
        return moments.cast(y, x.dtype), mean_C, batch_var_C

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *_: Tensor | None) -> tuple[Gradient, ...]:
        if dy is None:
            return None, None, None, None, None, None
        x, weight_C, mean_C, rstd_C, r_C, d_C = ctx.saved_tensors
        slope_C = moments.scale(r_C, weight_C)
        dx, of_xhat_C, dbias_C = _gradients(ctx, dy, x, mean_C, rstd_C, slope_C)
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        dweight_C = of_xhat_C * r_C + dbias_C * d_C if of_weight else None
        return dx if of_x else None, dweight_C, dbias_C if of_bias else None, None, None, None


class _Rescaled(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_C: Tensor | None,
        bias_C: Tensor | None,
        eps: float,
        core: str,
        factor_NC: Tensor,
        shift_NC: Tensor,
    ) -> Normalized:
        y, mean_C, batch_var_C, rstd_C = _by_batch(x, weight_C, bias_C, eps, core)
        moments.rescale(y, factor_NC, shift_NC)
        ctx.eps, ctx.core = eps, core
        ctx.mark_non_differentiable(mean_C, batch_var_C)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight_C, mean_C, rstd_C, factor_NC)
        return moments.cast(y, x.dtype), mean_C, batch_var_C

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *_: Tensor | None) -> tuple[Gradient, ...]:
        if dy is None:
            return None, None, None, None, None, None, None
        x, weight_C, mean_C, rstd_C, factor_NC = ctx.saved_tensors
        dy = moments.widen(dy) * moments.spread(factor_NC, x.dim())
        dx, dweight_C, dbias_C = _gradients(ctx, dy, x, mean_C, rstd_C, weight_C)
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        gradients = dx if of_x else None, dweight_C if of_weight else None, dbias_C if of_bias else None
        return *gradients, None, None, None, None


def _by_batch(
    x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float, core: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return y, float32 or wider and free to be changed, mean, batch_var and rstd."""
    if core == "auto" and compiled.usable(x, weight_C, bias_C):
        return compiled.by_batch(x, weight_C, bias_C, eps)
    mean_C, batch_var_C, centred = moments.batch_moments(moments.widen(x))
    rstd_C = moments.inverse_std(batch_var_C, eps)
    y = moments.scale_shift(centred, moments.scale(rstd_C, weight_C), bias_C)
    return y, mean_C, batch_var_C, rstd_C


def _gradients(
    ctx: Any, dy: Tensor, x: Tensor, mean_C: Tensor, rstd_C: Tensor, weight_C: Tensor | None
) -> tuple[Gradient, Tensor, Tensor]:
    """Return the gradients of weight * xhat + bias, in a graph of their own if one is asked for."""
    of_x = ctx.needs_input_grad[0]
    if torch.is_grad_enabled():
        wide = moments.widen(x)
        # the saved moments are constants to autograd; a second derivative has to pass through them
        mean_C, batch_var_C = moments.moments_from(wide)
        rstd_C = moments.inverse_std(batch_var_C, ctx.eps)
        return moments.gradients_from(moments.widen(dy), wide, mean_C, rstd_C, weight_C, by_batch=True)
    if ctx.core == "auto" and compiled.usable(x, weight_C, None):
        return compiled.gradients(dy, x, mean_C, rstd_C, weight_C, of_x=of_x)
    dy, x = moments.widen(dy), moments.widen(x)
    dweight_C, dbias_C, buffer = moments.parameter_gradients(dy, x, mean_C, rstd_C)
    if not of_x:
        return None, dweight_C, dbias_C
    sums = dweight_C, dbias_C
    return moments.input_gradient(dy, x, mean_C, rstd_C, weight_C, sums, out=buffer), dweight_C, dbias_C

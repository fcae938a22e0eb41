"""Batch normalization as two differentiable functions: by the batch's own moments, and by given ones.

Eagerly each is one node of the graph with its derivative written out: it saves its input and per-channel
vectors, nothing else of the input's size. Under torch.compile and torch.func the same formulas run as plain
operations instead, because both need to see inside. Shapes and names as in `moments`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bnexp.norms import moments

Gradient = Tensor | None


def normalize_by_batch(
    x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y and the batch's mean and batch_var, of which y alone is differentiable (any number of times).

    An empty batch gives an empty y, through which the parameters get gradients of zero, as in torch.
    """
    if x.numel() == 0:
        mean_C, batch_var_C = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
        return moments.normalized_from(x, mean_C, batch_var_C, weight_C, bias_C, eps), mean_C, batch_var_C
    if moments.transformed():
        mean_C, batch_var_C = moments.moments_from(moments.widen(x))
        y = moments.normalized_from(x, mean_C, batch_var_C, weight_C, bias_C, eps)
        return y, mean_C.detach(), batch_var_C.detach()
    rows = _rows(x)
    y, mean_C, batch_var_C = _ByBatch.apply(rows, weight_C, bias_C, eps)
    return _like(y, x) if rows is not x else y, mean_C, batch_var_C


def normalize_by(
    x: Tensor, mean_C: Tensor, var_C: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
) -> Tensor:
    """Return y by moments that x has no part in; differentiable in x, weight and bias, not in the moments."""
    if x.numel() == 0 or moments.transformed():
        return moments.normalized_from(x, mean_C, var_C, weight_C, bias_C, eps)
    rows = _rows(x)
    y: Tensor = _ByGiven.apply(rows, weight_C, bias_C, mean_C, var_C, eps)
    return _like(y, x) if rows is not x else y


class _ByBatch(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean_C, batch_var_C, centred = moments.batch_moments(moments.widen(x))
        rstd_C = moments.inverse_std(batch_var_C, eps)
        y = moments.scale_shift(centred, moments.scale(rstd_C, weight_C), bias_C)
        ctx.save_for_backward(x, weight_C, mean_C, rstd_C)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean_C, batch_var_C)
        ctx.set_materialize_grads(False)
        return moments.cast(y, x.dtype), mean_C, batch_var_C

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *_: Tensor | None) -> tuple[Gradient, ...]:
        if dy is None:
            return None, None, None, None
        x, weight_C, mean_C, rstd_C = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        dy, x = moments.widen(dy), moments.widen(x)
        dx: Gradient = None
        if torch.is_grad_enabled():
            # the saved moments are constants to autograd; a second derivative has to pass through them
            mean_C, batch_var_C = moments.moments_from(x)
            rstd_C = moments.inverse_std(batch_var_C, ctx.eps)
            dx, dweight_C, dbias_C = moments.gradients_from(dy, x, mean_C, rstd_C, weight_C, by_batch=True)
        else:
            dweight_C, dbias_C, buffer = moments.parameter_gradients(dy, x, mean_C, rstd_C)
            if of_x:
                sums = dweight_C, dbias_C
                dx = moments.input_gradient(dy, x, mean_C, rstd_C, weight_C, sums, out=buffer)
        return dx if of_x else None, dweight_C if of_weight else None, dbias_C if of_bias else None, None


class _ByGiven(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_C: Tensor | None,
        bias_C: Tensor | None,
        mean_C: Tensor,
        var_C: Tensor,
        eps: float,
    ) -> Tensor:
        wide = moments.widen(x)
        rstd_C = moments.inverse_std(moments.cast(var_C, wide.dtype), eps)
        centred = wide - moments.across(mean_C, x.dim())
        y = moments.scale_shift(centred, moments.scale(rstd_C, weight_C), bias_C)
        if any(ctx.needs_input_grad):
            # a copy, because the next training batch moves the buffer in place
            ctx.save_for_backward(x, weight_C, mean_C.clone(), rstd_C)
        return moments.cast(y, x.dtype)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Gradient, ...]:
        x, weight_C, mean_C, rstd_C = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        dy, x = moments.widen(dy), moments.widen(x)
        if torch.is_grad_enabled():
            dx, dweight_C, dbias_C = moments.gradients_from(dy, x, mean_C, rstd_C, weight_C, by_batch=False)
        else:
            dweight_C, dbias_C, dx = moments.parameter_gradients(dy, x, mean_C, rstd_C)
            torch.mul(dy, moments.across(moments.scale(rstd_C, weight_C), x.dim()), out=dx)
        return (
            dx if of_x else None,
            dweight_C if of_weight else None,
            dbias_C if of_bias else None,
            None,
            None,
            None,
        )


def _rows(x: Tensor) -> Tensor:
    """Return x (N, C, *) seen as (N * positions, C) where its memory is laid out so (channels_last), else x.

    A (C, 1, 1) vector broadcast over channels_last memory is several times slower than a row over rows.
    """
    if x.is_contiguous():
        return x
    last = x.movedim(1, -1)
    return last.flatten(0, -2) if last.is_contiguous() else x


def _like(y_rows: Tensor, x: Tensor) -> Tensor:
    return y_rows.view(x.shape[0], *x.shape[2:], x.shape[1]).movedim(-1, 1)

"""Batch normalization as two differentiable functions: by the batch's own moments, and by given ones.

Each is one node of the graph with its derivatives written out: it saves its input and per-channel vectors,
nothing else of the input's size. torch.func goes through the nodes; torch.vmap and torch.compile take the
same formulas as plain operations, because neither can follow a reused buffer. Shapes and names as in
`moments`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.forward_ad import unpack_dual
from torch.compiler import is_compiling

from bnexp.norms.arithmetic import compiled, moments

Gradient = Tensor | None


def normalize_by_batch(
    x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float, core: str = "auto"
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y and the batch's mean and batch_var, of which y alone is differentiable (any number of times).

    An empty batch gives an empty y, through which the parameters get gradients of zero, as in torch.

    Args:
        core: "auto" takes the compiled arithmetic where `compiled.usable` says so, "eager" never does.
    """
    if x.numel() == 0:
        mean_C, ones_C = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
        return moments.normalized_from(x, mean_C, ones_C, weight_C, bias_C), mean_C, ones_C
    if is_compiling():
        return _plain_by_batch(x, weight_C, bias_C, eps)[:3]
    if core == "auto" and compiled.usable(x, weight_C, bias_C):
        result: tuple[Tensor, Tensor, Tensor] = _ByBatchCompiled.apply(x, weight_C, bias_C, eps)
        return result
    rows = _rows(x)
    y, mean_C, batch_var_C, _ = _ByBatch.apply(rows, weight_C, bias_C, eps)
    return _like(y, x) if rows is not x else y, mean_C, batch_var_C


def normalize_by(
    x: Tensor, mean_C: Tensor, var_C: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
) -> Tensor:
    """Return y by moments that x has no part in; differentiable in x, weight and bias, not in the moments."""
    wide = torch.promote_types(x.dtype, torch.float32)
    rstd_C = moments.inverse_std(moments.cast(var_C, wide), eps)
    if is_compiling():
        return _plain_by_given(x, weight_C, bias_C, mean_C, rstd_C)
    rows = _rows(x)
    y: Tensor = _ByGiven.apply(rows, weight_C, bias_C, mean_C, rstd_C)
    return _like(y, x) if rows is not x else y


def _plain_by_batch(
    x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mean_C, batch_var_C = moments.moments_from(moments.widen(x))
    rstd_C = moments.inverse_std(batch_var_C, eps)
    y = moments.normalized_from(x, mean_C, rstd_C, weight_C, bias_C)
    return y, mean_C.detach(), batch_var_C.detach(), rstd_C.detach()


def _plain_by_given(
    x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, mean_C: Tensor, rstd_C: Tensor
) -> Tensor:
    return moments.normalized_from(x, mean_C.detach(), rstd_C.detach(), weight_C, bias_C)


def _signed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Store forward's signature on it, which Function.apply else works out anew at every call, in 15 us."""
    forward.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    return forward


class _ByBatch(Function):
    @staticmethod
    @_signed
    def forward(
        x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean_C, batch_var_C, centred = moments.batch_moments(moments.widen(x))
        rstd_C = moments.inverse_std(batch_var_C, eps)
        y = moments.scale_shift(centred, moments.scale(rstd_C, weight_C), bias_C)
        return moments.cast(y, x.dtype), mean_C, batch_var_C, rstd_C

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weight_C, _, ctx.eps = inputs
        _, mean_C, batch_var_C, rstd_C = output
        ctx.mark_non_differentiable(mean_C, batch_var_C, rstd_C)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight_C, mean_C, rstd_C)
        ctx.save_for_forward(x, weight_C)

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

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Gradient, ...]:
        with _nestable():
            x, weight_C = _primals(ctx)
            mean_C, batch_var_C = moments.moments_from(moments.widen(x))
            rstd_C = moments.inverse_std(batch_var_C, ctx.eps)
            of_y = moments.tangent_from(tangents[:3], x, mean_C, rstd_C, weight_C, by_batch=True)
        return of_y, None, None, None

    @staticmethod
    def vmap(_: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, tuple[int | None, ...]]:
        of_moments: Any = None if in_dims[0] is None else 0
        out_dims = 0, of_moments, of_moments, of_moments
        return torch.vmap(_plain_by_batch, in_dims, out_dims)(*inputs), out_dims


class _ByBatchCompiled(Function):
    """`_ByBatch` by the compiled core. Its forward takes ctx itself: torch.func never comes here, and
    `setup_context` would cost a fifth of a small layer's time."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, mean_C, batch_var_C, rstd_C = compiled.by_batch(x, weight_C, bias_C, eps)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean_C, batch_var_C)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight_C, mean_C, rstd_C)
        ctx.save_for_forward(x, weight_C)
        return y, mean_C, batch_var_C

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *_: Tensor | None) -> tuple[Gradient, ...]:
        if dy is None or torch.is_grad_enabled():
            return _ByBatch.backward(ctx, dy)
        x, weight_C, mean_C, rstd_C = ctx.saved_tensors
        if not compiled.usable(x, weight_C, None):  # a hook on saved tensors may return another
            return _ByBatch.backward(ctx, dy)
        of_x, of_weight, of_bias, _eps = ctx.needs_input_grad
        dx, dweight_C, dbias_C = compiled.gradients(dy, x, mean_C, rstd_C, weight_C, of_x=of_x)
        return dx, dweight_C if of_weight else None, dbias_C if of_bias else None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Gradient, ...]:
        return _ByBatch.jvp(ctx, *tangents)[:3]


class _ByGiven(Function):
    @staticmethod
    @_signed
    def forward(
        x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, mean_C: Tensor, rstd_C: Tensor
    ) -> Tensor:
        centred = moments.widen(x) - moments.across(mean_C, x.dim())
        return moments.cast(moments.scale_shift(centred, moments.scale(rstd_C, weight_C), bias_C), x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight_C, _, mean_C, rstd_C = inputs
        # a copy, because the next training batch moves the buffer in place
        ctx.save_for_backward(x, weight_C, mean_C.clone(), rstd_C)
        ctx.save_for_forward(x, weight_C, mean_C, rstd_C)

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
        gradients = dx if of_x else None, dweight_C if of_weight else None, dbias_C if of_bias else None
        return *gradients, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        with _nestable():
            x, weight_C, mean_C, rstd_C = _primals(ctx)
            return moments.tangent_from(tangents[:3], x, mean_C, rstd_C, weight_C, by_batch=False)

    @staticmethod
    def vmap(_: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        return torch.vmap(_plain_by_given, in_dims)(*inputs), 0


@contextmanager
def _nestable() -> Iterator[None]:
    """Turn forward mode on in a jvp, where torch leaves it off and so loses a term of the next derivative.

    Source: https://github.com/pytorch/pytorch/issues/197867
    """
    recording = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(recording):
        yield


def _primals(ctx: Any) -> list[Any]:
    """Return what was saved without its tangents, which `moments.tangent_from` is given apart."""
    saved = ctx.saved_tensors
    return [v if v is None else unpack_dual(v).primal for v in saved]  # type: ignore[no-untyped-call]


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

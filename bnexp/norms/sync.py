"""Batch normalization by hand, with the statistics of all processes together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from bnexp.errors import ShapeError
from bnexp.norms.arithmetic import moments
from bnexp.norms.contract.arguments import check_input
from bnexp.norms.custom import BATCH_NORM, CustomNorm

Wrapped = TypeVar("Wrapped", bound=Callable[..., object])
_outside_graphs: Callable[[Wrapped], Wrapped] = torch.compiler.disable  # processes must meet in one order


@BATCH_NORM
class SyncNorm(CustomNorm):
    """Normalize each channel over the batches of all processes, as one batch norm would their concatenation.

    y = weight * (x - mean) / sqrt(var + eps) + bias, with mean and biased var over N, * and all processes of
    torch.distributed's default group; running_var averages var * n / (n - 1) with n of all processes, so the
    buffers stay equal everywhere. In evaluation, with one process or without torch.distributed: `CustomNorm`.

    Every process must call forward and backward as often as the others; their batches may differ in size, be
    single examples (two in all are enough), or be empty. Gradients of weight and bias are those of the
    process's own examples, to be summed or averaged like those of other parameters; the gradient of x is
    that of the sum of all processes' losses.

    Shape, Args, Precision: as `CustomNorm`; moments are exchanged and merged in float64.
    Raises:
        ConfigError, ShapeError: as `CustomNorm`, where one value a channel means one in all processes.
    Source: torch.nn.SyncBatchNorm. Departs from it in: works on any device and backend, and exchanges means
        and variances instead of means and inverse roots. Can be differentiated once.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and num_processes() > 1):
            return super().forward(x)
        check_input(x, self.num_features)
        return self._together(x)

    @_outside_graphs
    def _together(self, x: Tensor) -> Tensor:
        local = _local_moments(moments.widen(x.detach()))
        n, mean_C, batch_var_C = _all_moments(x.numel() // self.num_features, *local)
        if n == 1:
            raise ShapeError(
                "Expected more than 1 value per channel when training, got 1 in all processes together: "
                "use batches of 2 or more (drop_last=auto drops a last batch of one) or another norm"
            )
        y: Tensor = _ByAll.apply(x, self.weight, self.bias, mean_C, batch_var_C, self.eps, n)
        if self.track_running_stats:
            self._track(mean_C, batch_var_C, n)
        return y


def num_processes() -> int:
    """Return the size of torch.distributed's default group, 1 where there is none."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _local_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    if x.numel() == 0:
        return x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1])
    return moments.batch_moments(x)[:2]


def _all_moments(n: int, mean_C: Tensor, batch_var_C: Tensor) -> tuple[int, Tensor, Tensor]:
    """Return count, mean and biased variance over all processes, of the dtype of this one's."""
    # float64, because float32 counts to 2^24 only
    own = torch.cat([mean_C.new_full((1,), n, dtype=torch.float64), mean_C.double(), batch_var_C.double()])
    every = [torch.empty_like(own) for _ in range(num_processes())]
    distributed.all_gather(every, own)
    table, size = torch.stack(every), len(mean_C)
    counts_G, means_GC, vars_GC = table[:, 0], table[:, 1 : size + 1], table[:, size + 1 :]
    total = int(counts_G.sum())
    if total == 0:
        return 0, mean_C, batch_var_C
    merged = moments.merged_moments(counts_G, means_GC, vars_GC)
    mean_C, batch_var_C = (moments.cast(value_C, mean_C.dtype) for value_C in merged)
    return total, mean_C, batch_var_C


class _ByAll(Function):
    """y by the moments of n values a channel, of which x holds a part."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_C: Tensor | None,
        bias_C: Tensor | None,
        mean_C: Tensor,
        batch_var_C: Tensor,
        eps: float,
        n: int,
    ) -> Tensor:
        rstd_C = moments.inverse_std(batch_var_C, eps)
        ctx.save_for_backward(x, weight_C, mean_C, rstd_C)
        ctx.n = n
        centred = moments.widen(x) - moments.across(mean_C, x.dim())
        return moments.cast(moments.scale_shift(centred, moments.scale(rstd_C, weight_C), bias_C), x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_C, mean_C, rstd_C = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        dy, x = moments.widen(dy), moments.widen(x)
        dweight_C, dbias_C, buffer = moments.parameter_gradients(dy, x, mean_C, rstd_C)
        dx: Tensor | None = None
        if of_x:
            sums = torch.stack([dweight_C, dbias_C])
            distributed.all_reduce(sums)
            # input_gradient divides by the count of x alone
            share = x.numel() / x.shape[1] / max(1, ctx.n)
            shares_C = sums[0] * share, sums[1] * share
            dx = buffer
            if share > 0:
                dx = moments.input_gradient(dy, x, mean_C, rstd_C, weight_C, shares_C, out=buffer)
        gradients = dx, dweight_C if of_weight else None, dbias_C if of_bias else None
        return *gradients, None, None, None, None

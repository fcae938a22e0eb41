"""Normalizing by the batch with the compiled core, where that is allowed and pays."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.compiler import is_compiling

from bnexp import private
from bnexp.norms.arithmetic import core

PLAIN = (Tensor, nn.Parameter)
# From here on a thread's share of the work outweighs starting it.
SHARED = 2**16


def usable(x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None) -> bool:
    """Whether the core can take x (not empty) and would be faster than torch's operations.

    It takes plain float32 tensors on the CPU that lie in memory without gaps, where nobody writes down what
    torch computes.
    """
    return (
        not _recorded()  # first, because what torch.func wraps has no memory to ask for
        and _written(x)
        and (x.is_contiguous() or _channels_last(x))
        and (weight_C is None or _plain(weight_C))
        and (bias_C is None or _plain(bias_C))
        and core.load() is not None
    )


def movable(*vectors_C: Tensor) -> bool:
    """Whether the core can move running statistics that are among `vectors_C`."""
    if is_compiling() or _recorded():
        return False
    for v in vectors_C:
        if not _plain(v):
            return False
    return core.load() is not None


def _recorded() -> bool:
    """Whether operations are transformed or written down as they run: what is not one of torch's is lost."""
    return private.transforms_active() or private.modes_active()


def _written(v: Tensor) -> bool:
    """Whether the CPU's memory holds float32 values: not negated when read, nor zeros without memory."""
    plain = type(v) in PLAIN and v.dtype is torch.float32 and v.is_cpu
    return plain and not v.is_neg() and v.data_ptr() != 0


def _plain(v: Tensor) -> bool:
    return _written(v) and v.is_contiguous()


def _channels_last(x: Tensor) -> bool:
    return x.dim() > 2 and x.movedim(1, -1).is_contiguous()


def sizes(x: Tensor) -> tuple[int, int, int, int]:
    """Return N, S, L and the number of threads as core.c means them."""
    n, channels = x.shape[:2]
    positions = x.numel() // (n * channels)
    threads = torch.get_num_threads() if x.numel() >= SHARED else 1
    return (n, channels, positions, threads) if x.is_contiguous() else (n * positions, channels, 1, threads)


def by_batch(
    x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return y, mean, batch_var and rstd; x must be `usable`."""
    # two memories, because mean and rstd are kept for backward and the variance is not
    (mean_C, rstd_C), batch_var_C = x.new_empty(2, x.shape[1]).unbind(), x.new_empty(x.shape[1])
    y = torch.empty_like(x)
    _call("by_batch", (x, weight_C, bias_C), (eps, *sizes(x)), (y, mean_C, batch_var_C, rstd_C))
    return y, mean_C, batch_var_C, rstd_C


def gradients(
    dy: Tensor, x: Tensor, mean_C: Tensor, rstd_C: Tensor, weight_C: Tensor | None, *, of_x: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Return dx (None unless `of_x`), dweight and dbias, outside the graph."""
    if dy.stride() != x.stride() or not _written(dy):
        dy = torch.empty_like(x).copy_(dy)
    dx = torch.empty_like(x) if of_x else None
    dweight_C, dbias_C = torch.empty_like(mean_C), torch.empty_like(mean_C)
    _call("gradients", (dy, x, mean_C, rstd_C, weight_C), sizes(x), (dx, dweight_C, dbias_C))
    return dx, dweight_C, dbias_C


def move(
    running_mean_C: Tensor,
    running_var_C: Tensor,
    mean_C: Tensor,
    batch_var_C: Tensor,
    *,
    unbias: float,
    momentum: float,
) -> None:
    """Move both buffers in place as `moments.move` does, towards mean and unbias * batch_var."""
    _call("move", (mean_C, batch_var_C), (unbias, momentum, len(mean_C)), (running_mean_C, running_var_C))
    # autograd must know that memory was written to: a graph that kept a buffer is out of date
    increment_version((running_mean_C, running_var_C))


def _call(
    name: str,
    given: tuple[Tensor | None, ...],
    numbers: tuple[float, ...],
    results: tuple[Tensor | None, ...],
) -> None:
    pointers = [None if v is None else v.data_ptr() for v in given]
    into = [None if v is None else v.data_ptr() for v in results]
    if getattr(core.load(), name)(*pointers, *numbers, *into):
        raise MemoryError("the compiled norm core found no memory for its sums")

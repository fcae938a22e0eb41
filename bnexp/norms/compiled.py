"""Normalizing by the batch with the compiled core, where that is allowed and pays."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnexp.norms import core

CORES = ("auto", "eager")
PLAIN = (Tensor, nn.Parameter)
# From here on torch's operations share the work among threads, which the core does not.
SHARED = 2**15


def usable(x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None) -> bool:
    """Whether the core can take x (not empty) and would be faster than torch's operations.

    It takes plain float32 tensors on the CPU that lie in memory without gaps, where nobody writes down what
    torch computes.
    """
    if x.dtype is not torch.float32 or x.device.type != "cpu" or _recorded():
        return False
    if type(x) not in PLAIN or _unwritten(x) or not (x.is_contiguous() or _channels_last(x)):
        return False
    if not all(v is None or _plain(v) for v in (weight_C, bias_C)):
        return False
    return (torch.get_num_threads() == 1 or x.numel() < SHARED) and core.load() is not None


def _recorded() -> bool:
    """Whether operations are transformed or written down as they run: what is not one of torch's is lost."""
    return torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack() > 0


def _unwritten(v: Tensor) -> bool:
    """Whether memory does not hold the values: negated when they are read, or zeros that have no memory."""
    return v.is_neg() or v._is_zerotensor()


def _plain(v: Tensor) -> bool:
    if type(v) not in PLAIN or v.dtype is not torch.float32 or v.device.type != "cpu":
        return False
    return v.is_contiguous() and not _unwritten(v)


def _channels_last(x: Tensor) -> bool:
    return x.dim() > 2 and x.movedim(1, -1).is_contiguous()


def sizes(x: Tensor) -> tuple[int, int, int]:
    """Return N, C, L as core.c means them."""
    n, channels = x.shape[:2]
    positions = x.numel() // (n * channels)
    return (n, channels, positions) if x.is_contiguous() else (n * positions, channels, 1)


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
    if dy.stride() != x.stride() or _unwritten(dy):
        dy = torch.empty_like(x).copy_(dy)
    dx = torch.empty_like(x) if of_x else None
    dweight_C, dbias_C = torch.empty_like(mean_C), torch.empty_like(mean_C)
    _call("gradients", (dy, x, mean_C, rstd_C, weight_C), sizes(x), (dx, dweight_C, dbias_C))
    return dx, dweight_C, dbias_C


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

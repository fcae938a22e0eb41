"""Keeping for the backward pass what a convolution was given, in place of what it returned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.compiler import is_compiling

from bnexp.models.weight_standardization import convolve, kernel
from bnexp.private import transforms_active


@dataclass(frozen=True)
class _Pass:
    """One forward pass of a convolution: enough to make it again, and nothing that it does not keep itself.

    stride: of what it returned. autocast: the number format in force, None where none was.
    """

    conv: nn.Conv2d
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    autocast: torch.dtype | None

    def again(self) -> Tensor:
        autocast = torch.autocast(
            self.x.device.type, self.autocast, enabled=self.autocast is not None, cache_enabled=False
        )
        with torch.no_grad(), autocast:
            y = convolve(self.conv, self.x, kernel(self.conv, self.weight), self.bias)
        return y if y.stride() == self.stride else y.new_empty_strided(y.shape, self.stride).copy_(y)


@dataclass(frozen=True)
class _Kept:
    """What stands in the graph for a view of a convolution's output."""

    of: _Pass
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int


@contextmanager
def recomputed(y: Tensor, conv: nn.Conv2d, x: Tensor) -> Iterator[None]:
    """Let operations within keep `y`, which is conv(x), as a recipe that the backward pass follows.

    Whatever else they keep, they keep as it is. The weights may not change before the backward pass, as
    autograd demands of every convolution. Under torch.func and torch.compile, y is kept itself.
    """
    transformed = is_compiling() or transforms_active()
    address = 0 if transformed else y.untyped_storage().data_ptr()
    if address == 0:  # an empty batch has no address either
        yield
        return
    recipe = _pass(y, conv, x)

    def pack(tensor: Tensor) -> Tensor | _Kept:
        if tensor.untyped_storage().data_ptr() != address:
            return tensor
        return _Kept(recipe, tensor.shape, tensor.stride(), int(tensor.storage_offset()))

    with saved_tensors_hooks(pack, _unpack):
        yield


def _pass(y: Tensor, conv: nn.Conv2d, x: Tensor) -> _Pass:
    device = y.device.type
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    bias = None if conv.bias is None else conv.bias.detach()
    return _Pass(conv, x.detach(), conv.weight.detach(), bias, y.stride(), autocast)


def _unpack(kept: Tensor | _Kept) -> Tensor:
    if isinstance(kept, _Kept):
        return kept.of.again().as_strided(kept.shape, kept.stride, kept.offset)
    return kept

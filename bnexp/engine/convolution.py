"""A fault of torch's kept out of training: a gradient of convolutions that is written beyond its memory.

A strided 1x1 convolution reads few of its input's positions. For channels_last memory on the CPU, oneDNN
gathers them in a workspace, C numbers for each, before it computes the gradient of the weights; but it starts
each chunk of them as if a position had 8 numbers (16 with AVX-512). With fewer input channels it writes
beyond the workspace: the process dies, or trains on with wrong gradients and other numbers in whatever lay
there. Seen with torch 2.14.1 (oneDNN 3.12), in float32 and without groups:

    AVX2       fewer than 8 channels, images of every size
    AVX-512    fewer than 16 channels; images of 14x14 and larger on two threads, of 48x48 to 56x56 on one

A transposed convolution gathers the gradient of its output in the same way.

Source: https://github.com/uxlfoundation/oneDNN/issues/6035
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

BLOCK = 16  # channels that oneDNN's widest kernels take at once
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


@cache
def repair() -> torch.library.Library:
    """Compute these gradients from the positions that the convolution reads, in this process from now on.

    x[:, :, ::s, ::s] under stride 1 gives the sums that x gives under stride s, and needs no workspace. The
    operator itself is replaced, so that functional calls, compiled networks and second derivatives are
    covered too. Forward passes, gradients of inputs, other convolutions and other devices stay torch's.
    """
    kernel = torch.library.get_kernel("aten::convolution_backward", "CPU")

    def backward(
        keys: torch.DispatchKeySet,
        dy: Tensor,
        x: Tensor,
        weight: Tensor,
        bias_sizes: list[int] | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        transposed: bool,
        output_padding: list[int],
        groups: int,
        wanted: list[bool],
    ) -> Gradients:
        def torchs(
            dy: Tensor, x: Tensor, stride: list[int], output_padding: list[int], wanted: list[bool]
        ) -> Gradients:
            steps = stride, padding, dilation, transposed, output_padding
            found: Gradients = kernel.call_boxed(keys, dy, x, weight, bias_sizes, *steps, groups, wanted)
            return found

        of_x, of_weight, of_bias = wanted
        small, large = (x, dy) if transposed else (dy, x)
        if not (of_weight or of_bias) or not _gathered(large, small, stride, x, weight):
            return torchs(dy, x, stride, output_padding, wanted)
        dx = torchs(dy, x, stride, output_padding, [True, False, False])[0] if of_x else None
        read = large[:, :, :: stride[0], :: stride[1]]
        if not transposed:
            return dx, *torchs(dy, read, [1, 1], [0, 0], [False, of_weight, of_bias])[1:]
        db = dy.sum((0, 2, 3)) if of_bias else None  # the bias is added at every position, also between
        return dx, torchs(read, x, [1, 1], [0, 0], [False, of_weight, False])[1], db

    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    library.impl("convolution_backward", backward, "CPU", with_keyset=True)  # type: ignore[no-untyped-call]
    return library  # kept by the cache: the replacement ends with it


def _gathered(large: Tensor, small: Tensor, stride: list[int], x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN gathers fewer than BLOCK channels of `large`: its conditions, and torch's for layouts.

    That `large` is exactly s times `small` excludes padding; one weight for each of its channels, groups.
    """
    return (
        large.dim() == 4
        and large.dtype is torch.float32
        and large.shape[1] < BLOCK
        and max(stride) > 1
        and weight.shape[1:] == (large.shape[1], 1, 1)
        and large.shape[2:] == (small.shape[2] * stride[0], small.shape[3] * stride[1])
        and any(torch.ops.aten.is_strides_like_format(v, torch.channels_last) for v in (x, weight))
    )

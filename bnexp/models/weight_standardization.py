"""Convolutions whose kernels are normalized instead of, or beside, what flows through them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnexp.errors import ConfigError

EPS = 1e-6


class StandardizedConv2d(nn.Conv2d):
    """A convolution by its kernel brought to mean 0 and variance 1 for each output channel.

    y = conv(x, (weight - mean) / sqrt(var + 1e-6)) + bias, with mean and biased var over the in_channels /
    groups * kH * kW weights of one output channel; gradients go through mean and var. Training and
    evaluation do the same. `weight` holds the values before standardization, under the name and with the
    initial values that a plain convolution gives it; their scale and offset are of no effect. The second
    moment of y is about that of x times the number of weights: a norm should follow.

    Shape: as torch.nn.Conv2d.
    Raises:
        ConfigError: an output channel has a single weight, whose standardized value would always be 0.
    Source: Qiao et al. 2019, arXiv:1903.10520, eq. 5-6. The variance is biased and eps stands inside the
        root, as in timm's StdConv2d; the paper's own code has (weight - mean) / (std + 1e-5), std unbiased.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        fan_in = self.weight[0].numel()
        if fan_in < 2:
            raise ConfigError(
                f"weight_standardization needs at least 2 weights in each output channel, got {fan_in} "
                f"({in_channels} -> {out_channels} channels, window {kernel_size}): "
                "take more channels or weight_standardization=false"
            )

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self, x, standardized(self.weight), self.bias)


def standardized(weight: Tensor) -> Tensor:
    """Return (weight - mean) / sqrt(var + 1e-6) for each output channel of a kernel (C_out, C_in, kH, kW)."""
    var, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
    return (weight - mean) * torch.rsqrt(var + EPS)


def kernel(conv: nn.Conv2d, weight: Tensor) -> Tensor:
    """Return what `conv` slides over its input when its weight is `weight`."""
    return standardized(weight) if isinstance(conv, StandardizedConv2d) else weight


def convolve(conv: nn.Conv2d, x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x convolved by `kernel`, with the stride, padding, dilation and groups of `conv`.

    Raises:
        ValueError: `conv` pads with something else than zeros.
    """
    if conv.padding_mode != "zeros":
        raise ValueError(f"a convolution must pad with zeros, got padding_mode={conv.padding_mode!r}")
    return F.conv2d(x, kernel, bias, conv.stride, conv.padding, conv.dilation, conv.groups)

"""A unit once it has been made: its parts in a row, and how they run."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from bnexp.models.recompute import recomputed

Shape = tuple[int, ...]


class Unit(nn.Sequential):
    """Named parts, applied in the order in which they stand.

    shape: what one example is when it leaves, (C, H, W) or (features,).
    """

    def __init__(self, parts: dict[str, nn.Module], shape: Shape) -> None:
        super().__init__(OrderedDict(parts))
        self.shape = shape


class FusedUnit(Unit):
    """A unit whose backward pass computes the convolution again instead of keeping its output for the norm.

    Its parts, their names and all values and gradients are those of `Unit`, for any norm: the norm keeps its
    input, the largest thing that it keeps, as the convolution's input and weights, which the convolution
    keeps anyway. Statistics are measured, and buffers moved, in the forward pass alone. A pool between the
    two is covered likewise. The price is one more convolution a step.

    Parts: linear, a convolution, comes first; norm stands somewhere after it.
    Source: the PyTorch tutorial "Fusing Convolution and Batch Norm using Custom Function". Departs from it
        in: the norm's own derivatives are used, so they stay exact, finite for constant channels, and
        differentiable again; any norm, stride, padding, groups and bias.
    """

    in_order = True  # as in Sequential, so that norms can be folded into weights

    linear: nn.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        parts = iter(self.children())
        convolved: Tensor = next(parts)(x)
        y = convolved
        with recomputed(convolved, self.linear, x):
            for part in parts:
                y = part(y)
                if part is self.norm:
                    break
        del convolved
        for part in parts:
            y = part(y)
        return y

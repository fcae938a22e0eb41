"""A dense network on the flattened image."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from bnexp.models.blocks import Units
from bnexp.models.limits import refuse_preact, require_counts
from bnexp.models.unit import Shape


class MLP(nn.Sequential):
    """Dense units, all with the body's norm, and a linear classifier.

    Shape: images (N, C, H, W) of any size -> logits (N, num_classes).
    Args:
        hidden: features of the units; an empty list leaves logistic regression.
    Raises:
        ConfigError: placement preact, or a width that is not a whole number of at least 1.
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, §4.1: three hidden layers of 100 sigmoids.
    """

    has_head_norm = False

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        units: Units,
        hidden: Sequence[int] = (100, 100, 100),
    ) -> None:
        super().__init__()
        refuse_preact("mlp", units.placement)
        shape: Shape = image_shape
        for index, features in enumerate(require_counts("model.hidden", hidden), start=1):
            unit = units.dense(f"dense{index}", shape, features)
            self.add_module(f"dense{index}", unit)
            shape = unit.shape
        if len(shape) > 1:
            self.flatten = nn.Flatten()
        self.classifier = nn.Linear(math.prod(shape), num_classes)

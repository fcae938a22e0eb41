"""A plain stack of 3x3 convolutions with a dense head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bnexp.errors import ConfigError
from bnexp.models.blocks import GlobalAverage, Units
from bnexp.models.limits import refuse_preact, require_counts, require_size
from bnexp.models.unit import Shape


class ImageClassifier(nn.Sequential):
    """Convolutional units with max pools between them, a global average, one dense unit, a linear classifier.

    conv 3x3 pad 1 of each width, 2x2 max pool after all but the last; mean over H and W; dense 256 with
    dropout; classifier.

    Shape: images (N, C, H, W), H and W at least 2^(len(widths) - 1) -> logits (N, num_classes).
    Args:
        widths: channels of the units.
        dropout: probability of a zero after the dense unit, in [0, 1); 0 leaves it out.
    Raises:
        ConfigError: smaller images, placement preact, no or non-positive widths, or dropout outside [0, 1).
    """

    has_head_norm = True

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        units: Units,
        widths: Sequence[int] = (64, 128, 256, 512),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        refuse_preact("classifier", units.placement)
        channels = require_counts("model.widths", widths)
        if not channels:
            raise ConfigError("model.widths must hold at least one width, got []")
        require_size("classifier", image_shape, 2 ** (len(channels) - 1))
        shape: Shape = image_shape
        for index, width in enumerate(channels, start=1):
            pool = "max" if index < len(channels) else None
            unit = units.conv(f"conv{index}", shape, width, 3, padding=1, pool=pool)
            self.add_module(f"conv{index}", unit)
            shape = unit.shape
        self.average = GlobalAverage()
        self.dense1 = units.dense("dense1", shape[:1], 256, head=True, dropout=dropout)
        self.classifier = nn.Linear(256, num_classes)

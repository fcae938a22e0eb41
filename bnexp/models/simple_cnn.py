"""A small convolutional network with dropout between its units."""

from __future__ import annotations

from torch import nn

from bnexp.models.blocks import Units
from bnexp.models.limits import refuse_preact, require_size

SMALLEST = 16


class SimpleCNN(nn.Sequential):
    """Two convolutional units that end in dropout, one dense unit, a linear classifier.

    conv 5x5 (10), max pool; conv 5x5 (20), max pool; dense 50; classifier. The pool comes right after the
    weight. Placement post, this network's own: conv, pool, ReLU, norm, dropout, so that the next weight sees
    dropped values of mean zero; pre: conv, pool, norm, ReLU, dropout.

    Shape: images (N, C, H, W), H and W at least 16 -> logits (N, num_classes).
    Args:
        dropout: probability of a zero after each convolutional unit, in [0, 1); 0 leaves it out.
    Raises:
        ConfigError: smaller images, placement preact, or dropout outside [0, 1).
    """

    has_head_norm = True

    def __init__(
        self, *, image_shape: tuple[int, int, int], num_classes: int, units: Units, dropout: float = 0.5
    ) -> None:
        super().__init__()
        refuse_preact("simple_cnn", units.placement)
        require_size("simple_cnn", image_shape, SMALLEST)
        self.conv1 = units.conv("conv1", image_shape, 10, 5, early_pool="max", dropout=dropout)
        self.conv2 = units.conv("conv2", self.conv1.shape, 20, 5, early_pool="max", dropout=dropout)
        self.dense1 = units.dense("dense1", self.conv2.shape, 50, head=True)
        self.classifier = nn.Linear(50, num_classes)

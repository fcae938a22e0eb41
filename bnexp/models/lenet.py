"""LeNet, the small convolutional network of the handwritten digits."""

from __future__ import annotations

from torch import nn

from bnexp.models.blocks import Units
from bnexp.models.limits import refuse_preact, require_size

SMALLEST = 12


class LeNet(nn.Sequential):
    """Two convolutions with average pools, two dense units, a linear classifier.

    conv 5x5 pad 2 (6), pool; conv 5x5 (16), pool; dense 120; dense 84; classifier. The input channels and
    the inputs of the first dense unit follow the data: 16 x 5 x 5 of them for images of 28 x 28.

    Shape: images (N, C, H, W), H and W at least 12 -> logits (N, num_classes).
    Raises:
        ConfigError: smaller images, or placement preact.
    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", §II. Departs from it
    in: plain average pools, full connections between the channels, a linear classifier.
    """

    has_head_norm = True

    def __init__(self, *, image_shape: tuple[int, int, int], num_classes: int, units: Units) -> None:
        super().__init__()
        refuse_preact("lenet", units.placement)
        require_size("lenet", image_shape, SMALLEST)
        self.conv1 = units.conv("conv1", image_shape, 6, 5, padding=2, pool="avg")
        self.conv2 = units.conv("conv2", self.conv1.shape, 16, 5, pool="avg")
        self.dense1 = units.dense("dense1", self.conv2.shape, 120, head=True)
        self.dense2 = units.dense("dense2", self.dense1.shape, 84, head=True)
        self.classifier = nn.Linear(84, num_classes)

"""Residual networks of basic blocks, in the form for small images (a 3x3 stem and no first pool)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bnexp.errors import ConfigError
from bnexp.models.blocks import GlobalAverage, Units
from bnexp.models.limits import COUNT, is_count
from bnexp.models.residual import Shift, branch_end, fixup, require_start, shifted
from bnexp.models.unit import Shape

DEEPEST = 9998


class BasicBlock(nn.Module):
    """Two 3x3 units beside a shortcut.

        pre       y = f(norm(conv2(f(norm(conv1(x))))) + s(x))     s = norm(conv 1x1) where the shape changes
        post      y = norm(f(conv2(norm(f(conv1(x)))))) + s(x)     likewise
        preact    y = conv2(f(norm(conv1(f(norm(x)))))) + s(x)     s = conv 1x1 where the shape changes

    f is the activation and s the identity where the shape stays. In place of norms, a branch may end in what
    `bnexp.models.residual` puts there. With pre the activation follows the sum;
    with post and preact every weight already has one and nothing follows the sum, so that the stream is
    never normalized or cut off. A norm that brings its own nonlinearity brings it with pre as well: both
    units end in it, the shortcut's too, and nothing follows the sum.

    Source: He et al. 2016, arXiv:1512.03385, Fig. 2 (pre); arXiv:1603.05027, Fig. 4e (preact; departs from
    it in: the 1x1 shortcut takes x itself). post is the order of bnexp's other networks, within the branch.
    """

    def __init__(
        self, name: str, shape: Shape, channels: int, stride: int, units: Units, residual: str = "plain"
    ) -> None:
        super().__init__()
        pre, preact = units.placement == "pre", units.placement == "preact"
        self.conv1 = units.conv(
            f"{name}.conv1", shape, channels, 3, stride=stride, padding=1, into_norm=preact
        )
        self.conv2 = units.conv(f"{name}.conv2", self.conv1.shape, channels, 3, padding=1, activate=not pre)
        if residual == "fixup":
            self.conv1, self.conv2 = shifted(self.conv1), shifted(self.conv2)
        self.end = branch_end(residual, activated=pre)
        self.shape = self.conv2.shape
        self.shortcut: nn.Module = nn.Identity()
        if shape != self.shape and preact:
            self.shortcut = units.bare_conv(f"{name}.shortcut", shape, channels, 1, stride=stride)
        elif shape != self.shape:
            self.shortcut = units.conv(f"{name}.shortcut", shape, channels, 1, stride=stride, activate=False)
        activation = units.activation_of(units.norm) if pre else None
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.end(self.conv2(self.conv1(x))) + self.shortcut(x))
        return y


class ResNet(nn.Sequential):
    """A 3x3 stem, stages of basic blocks, the mean over H and W, a linear classifier.

    depth 18: four stages of two blocks, base width 64. depth 6n + 2: three stages of n blocks, base width
    16. Each stage after the first halves the sides and doubles the width. With placement preact the stem is
    a bare convolution, and a norm and an activation end the stream.

    Shape: images (N, C, H, W) of any size -> logits (N, num_classes).
    Args:
        depth: 18, or 6n + 2 (8, 14, 20, 26, 32, 44, 56, 110, ...).
        width: channels of the first stage; auto is the published 64 or 16.
        zero_init_residual: start the weight of each block's last norm at zero: blocks begin as identities.
        residual: how a network without norms starts: plain, skipinit or fixup. skipinit: each branch is
            multiplied by a learnable scalar that starts at 0. fixup: scalar biases that start at 0 before
            each activation, the blocks' convolutions and the classifier, in place of the convolutions' own;
            each branch is multiplied by a scalar that starts at 1; each block's first weights, as `init`
            draws them, are scaled by L^(-1/2), L the number of blocks; its second ones and the classifier's
            start at 0. init=he_normal is what both were published with.
    Raises:
        ConfigError: another depth or width; zero_init_residual with placement preact or a weightless norm;
            residual other than plain with a norm; fixup with placement post or weight_standardization.
    Source: He et al. 2016, arXiv:1512.03385, §3.3 and §4.2; the 1x1 shortcuts are its option B.
        zero_init_residual: Goyal et al. 2017, arXiv:1706.02677, §5.1. skipinit: De & Smith 2020,
        arXiv:2002.10444. fixup: Zhang et al. 2019, arXiv:1901.09321, "Fixup initialization". Departs from
        its published code in: the shortcuts (there an average pool and zeros for the new channels), which
        are those of the plain network, with their own biases, and take x itself; the law of the weights is
        that of `init` (there by the outputs of a layer, not its inputs); one learning rate (there a tenth
        for scalars).
    """

    has_head_norm = False

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        units: Units,
        depth: int = 20,
        width: int | str = "auto",
        zero_init_residual: bool = False,
        residual: str = "plain",
    ) -> None:
        super().__init__()
        self._residual = residual
        blocks, base = _plan(depth, width)
        preact = units.placement == "preact"
        self.stem = (
            units.bare_conv("stem", image_shape, base, 3, padding=1)
            if preact
            else units.conv("stem", image_shape, base, 3, padding=1)
        )
        if residual == "fixup":
            self.stem = shifted(self.stem, before=("activation",))
        shape = self.stem.shape
        for index, count in enumerate(blocks):
            name, stride = f"stage{index + 1}", 2 if index else 1
            stage, shape = _stage(name, shape, base * 2**index, count, stride, units, residual)
            self.add_module(name, stage)
        if preact:
            closing = units.closing("closing", shape)
            self.closing = shifted(closing) if residual == "fixup" else closing
        self.average = GlobalAverage()
        if residual == "fixup":
            self.classifier_shift = Shift()
        self.classifier = nn.Linear(shape[0], num_classes)
        if zero_init_residual:
            _zero_last_norms(self, units.placement)
        require_start(residual, self, units.placement)

    def adjust_initial_weights(self) -> None:
        """Finish what a scheme of `bnexp.models.init` has drawn."""
        if self._residual == "fixup":
            blocks: Any = [module for module in self.modules() if isinstance(module, BasicBlock)]
            fixup([(block.conv1.linear, block.conv2.linear) for block in blocks], self.classifier)


def _plan(depth: int, width: int | str) -> tuple[list[int], int]:
    """Return the number of blocks of each stage, and the base width."""
    problems = []
    if depth != 18 and not (is_count(depth) and 8 <= depth <= DEEPEST and depth % 6 == 2):
        problems.append(
            f"model.depth must be 18 or 6n + 2 (8, 14, 20, 26, 32, 44, 56, 110, ... up to {DEEPEST}), "
            f"got {depth!r}"
        )
    if width != "auto" and not is_count(width):
        problems.append(f"model.width must be auto or {COUNT}, got {width!r}")
    if problems:
        raise ConfigError(problems)
    blocks, published = ([2, 2, 2, 2], 64) if depth == 18 else ([(depth - 2) // 6] * 3, 16)
    return blocks, published if width == "auto" else int(width)


def _stage(
    name: str, shape: Shape, channels: int, count: int, stride: int, units: Units, residual: str = "plain"
) -> tuple[nn.Sequential, Shape]:
    stage = nn.Sequential()
    for index in range(count):
        block = BasicBlock(f"{name}.{index}", shape, channels, stride if index == 0 else 1, units, residual)
        stage.append(block)
        shape = block.shape
    return stage, shape


def _zero_last_norms(model: nn.Module, placement: str) -> None:
    if placement == "preact":
        raise ConfigError(
            "model.zero_init_residual needs a norm at the end of each block, got placement=preact"
        )
    for name, module in model.named_modules():
        if isinstance(module, BasicBlock):
            norm = module.conv2.norm
            weight = getattr(norm, "weight", None)
            if not isinstance(weight, nn.Parameter):
                raise ConfigError(
                    f"model.zero_init_residual needs norms with a weight, got {type(norm).__name__} "
                    f"at {name}.conv2.norm; take another norm or model.zero_init_residual=false"
                )
            nn.init.zeros_(weight)

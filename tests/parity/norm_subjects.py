"""Norms for the matrix to look at: those of conf/norm, as their YAMLs describe them, and wrong ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnexp.composition.compose import compose
from bnexp.experiment.pieces import make
from bnexp.parity.matrix import CHECKS, cells
from bnexp.parity.specimen import PLACES, Place, Subject
from bnexp.parity.tolerances import MatrixCell

CPU = torch.device("cpu")


def subject(name: str) -> Subject:
    """Return the norm `name` as `bnexp check` makes it."""
    bound = make(compose([f"norm={name}"]).config.norm)
    return Subject(name, bound.func, bound.keywords)


def found(norm: Subject, *checks: str, places: tuple[Place, ...] = PLACES) -> list[MatrixCell]:
    """Return the cells of these checks, of all if none is named."""
    chosen = {name: CHECKS[name] for name in checks or CHECKS}
    return list(cells([norm], CPU, chosen, places))


def failed(cells: list[MatrixCell]) -> set[tuple[str, str]]:
    """Return check and case of the cells that failed."""
    return {(cell.check, cell.finding.case) for cell in cells if cell.finding.status == "fail"}


class Doubling(nn.Module):
    """A sound norm that bnexp has no formula for."""

    def __init__(self, num_features: int, spatial: tuple[int, ...], *, factor: float = 2.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_features,), factor))

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.weight.view(-1, *(1 for _ in x.shape[2:]))
        return y.to(x.dtype)


class Detached(Doubling):
    """Its gradient ignores half of what it does."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return y + x.detach()


class Raising(Doubling):
    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError("nothing to divide by")


class Mingling(Doubling):
    """It looks at other examples in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class Secretive(Doubling):
    """Its batch mates have a say in training, which it does not declare; it declares what it does not do."""

    removes_channel_mean = True

    def forward(self, x: Tensor) -> Tensor:
        return x * x.square().mean(0, keepdim=True) if self.training else x


class Folded(nn.Module):
    """|x - mean| by channel: its derivative jumps where a value is the mean."""

    removes_channel_mean = True
    batch_statistics = True

    def __init__(self, num_features: int, spatial: tuple[int, ...]) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean((0, *range(2, x.dim())), keepdim=True)).abs()

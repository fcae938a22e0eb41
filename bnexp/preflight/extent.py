"""What a norm measures over: found out by changing values, and watching one that comes out.

No norm has to say it of itself, so that it is right for a user's own norms and for torch's too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnexp.models.dropout import Noisy

EXAMPLES = 4  # of two, a dense batch norm's output would be a sign, which few changes turn
DRAWS = 4  # inputs that are tried: a norm may take its statistics from elsewhere for other values
CHANGE = 3.0  # what is changed becomes CHANGE (1 - x): mean, spread and sign are others then
EQUAL = 1e-12
NONE = "no other value"


@dataclass(frozen=True)
class Extent:
    """The set of values whose statistics decide what becomes of one of them.

    batch: whether other examples are in it; channels: how many; positions: whether all of a channel are.
    """

    batch: bool
    channels: int
    positions: bool

    def count(self, examples: int, spatial: tuple[int, ...]) -> int:
        """Return how many values these are where `examples` are measured together; 0 for a norm of none."""
        if not (self.batch or self.channels > 1 or self.positions):
            return 0
        return (examples if self.batch else 1) * self.channels * (math.prod(spatial) if self.positions else 1)

    def words(self, spatial: tuple[int, ...]) -> str:
        """Name the set, such as `batch x positions` or `16 channels x positions of one example`."""
        parts = [
            *(["batch"] if self.batch else []),
            *([f"{self.channels} channels"] if self.channels > 1 else []),
            *(["positions"] if self.positions else []),
        ]
        place = " at one position" if math.prod(spatial) > 1 and not self.positions else ""
        return " x ".join(parts) + place + ("" if self.batch else " of one example") if parts else NONE


@torch.no_grad()
def extent(norm: nn.Module, num_features: int, spatial: tuple[int, ...]) -> Extent | None:
    """Return what `norm` measures over in training, None where it refuses to be tried; it stays as it is."""
    try:
        layer = copy.deepcopy(norm).double().train()
        found = [_of_one_draw(layer, num_features, spatial, seed) for seed in range(DRAWS)]
    except (RuntimeError, ValueError, TypeError):
        return None
    return Extent(
        any(one.batch for one in found),
        max(one.channels for one in found),
        any(one.positions for one in found),
    )


def _of_one_draw(layer: nn.Module, num_features: int, spatial: tuple[int, ...], seed: int) -> Extent:
    like = next(layer.parameters(), torch.empty(0))
    drawn = torch.randn(EXAMPLES, num_features, *spatial, generator=torch.Generator().manual_seed(seed))
    drawn.view(-1)[0] = 1 if seed % 2 else -1  # a threshold hides values of one sign
    x, start = drawn.to(like.device, torch.float64), copy.deepcopy(layer.state_dict())

    def values(given: Tensor) -> Tensor:
        """Return the first value that comes out and those that are averaged of its channel."""
        layer.load_state_dict(start)
        _seed(layer, seed)
        with torch.random.fork_rng([like.device.index] if like.is_cuda else []):
            torch.manual_seed(seed)
            y = layer(given)
        averages = [one for one in layer.buffers() if one.is_floating_point() and one.dim() == 1]
        return torch.stack([y.flatten()[0], *(one[0] for one in averages)])

    before = values(x)

    def reaches(changed: Tensor) -> bool:
        return bool(((values(torch.where(changed, CHANGE * (1 - x), x)) - before).abs() > EQUAL).any())

    others, positions = torch.zeros_like(x, dtype=torch.bool), torch.zeros_like(x, dtype=torch.bool)
    others[1:, 0] = True
    positions[0, 0] = True
    positions.view(-1)[0] = False
    return Extent(reaches(others), _channels(x, reaches), reaches(positions))


def _channels(x: Tensor, reaches: Callable[[Tensor], bool]) -> int:
    """Return how many channels, from the first on, reach its values: the last of them is searched for."""

    def reached_from(channel: int) -> bool:
        changed = torch.zeros_like(x, dtype=torch.bool)
        changed[0, channel:] = True
        return reaches(changed)

    # The largest channel whose change is seen, by bisection: channels of a group stand side by side.
    low, high = 0, x.shape[1]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached_from(middle) else (low, middle)
    return low + 1


def _seed(layer: nn.Module, seed: int) -> None:
    for module in layer.modules():
        if isinstance(module, Noisy) and module.generator is not None:
            module.generator.manual_seed(seed)

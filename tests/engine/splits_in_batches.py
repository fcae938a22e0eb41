"""A split for evaluation, in batches of any size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from bnexp.protocols import Batch


@dataclass
class Parts:
    """A split in batches of `size`."""

    inputs: Tensor
    targets: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self), self.size):
            part = slice(start, start + self.size)
            yield Batch(self.inputs[part], self.targets[part])

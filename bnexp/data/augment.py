"""Random crops and mirror images, computed on the device from draws made on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PADDING = 4


@dataclass(frozen=True)
class Shifts:
    """Where each image is cropped, (N,) in [0, 2 * PADDING], and which are mirrored, (N,)."""

    rows: Tensor
    columns: Tensor
    mirrored: Tensor | None

    def __getitem__(self, part: slice) -> Shifts:
        mirrored = None if self.mirrored is None else self.mirrored[part]
        return Shifts(self.rows[part], self.columns[part], mirrored)


def draw(
    num_examples: int, *, mirror: bool, generator: torch.Generator, device: torch.device | str
) -> Shifts:
    """Draw on the CPU, so that every device sees the same shifts."""
    rows, columns = torch.randint(2 * PADDING + 1, (2, num_examples), generator=generator).to(device)
    if not mirror:
        return Shifts(rows, columns, None)
    return Shifts(rows, columns, torch.randint(2, (num_examples,), generator=generator).bool().to(device))


def shift(inputs_NCHW: Tensor, shifts: Shifts) -> Tensor:
    """Pad by four zeros a side, crop back to the old size at each image's place, and mirror left to right.

    Normalized images have mean 0, so what comes in at the border is the training split's mean.

    Source: the augmentation of He et al. 2016, arXiv:1512.03385, section 4.2.
    """
    height, width = inputs_NCHW.shape[2:]
    padded = functional.pad(inputs_NCHW, (PADDING,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 9, 9, H, W), a view
    each = torch.arange(len(inputs_NCHW), device=inputs_NCHW.device)
    cropped = windows[each, :, shifts.rows, shifts.columns]
    if shifts.mirrored is None:
        return cropped
    return torch.where(shifts.mirrored.view(-1, 1, 1, 1), cropped.flip(3), cropped)

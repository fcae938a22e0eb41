"""Ghost batches: parts of a forward pass that do not share their statistics."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from bnexp.norms.contract.traits import BoundNorm
from bnexp.norms.modifiers.overlay import buffers, on_copies, overlay, write


class GhostBatches(nn.Module):
    """Training normalizes each chunk of `norm_batch` consecutive examples as if it were the whole batch.

    Every chunk meets the buffers of before the pass. Afterwards they are moved once, to the mean of what the
    chunks make of them, weighted by the chunks' examples; a running average is linear in the batch's
    statistics, so this is one update by the chunks' mean statistics. num_batches_tracked counts one. A pass
    that makes one chunk, and every pass in evaluation, is the plain layer's, bit for bit.

    Shape: x (N, C, *) -> same shape.
    Source: Hoffer et al. 2017, arXiv:1705.08741, Alg. 1. Departs from it in: one update of the running
        averages for a pass, not one for each chunk, so momentum means the same for every norm_batch.
    """

    norm_batch: int

    def forward(self, x: Tensor) -> Tensor:
        sizes = batches_measured(self, x.shape[:1].numel())
        if not self.training or len(sizes) < 2:
            y: Tensor = super().forward(x)
            return y
        before = [buffer for _, _, buffer in buffers(self)]
        after = before
        outputs = []
        for chunk in torch.split(x, sizes):
            y, later = on_copies(self, super().forward, chunk)
            outputs.append(y)
            share = len(chunk) / len(x)
            after = [_added(*values, share) for values in zip(after, before, later, strict=True)]
        write(self, after)
        return torch.cat(outputs)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, norm_batch={self.norm_batch}"


def ghost(factory: BoundNorm, norm_batch: int) -> BoundNorm:
    """Return `factory` with ghost batches of `norm_batch` examples, itself where it measures no batch."""
    if not factory.batch_statistics:
        return factory

    def make(num_features: int, spatial: tuple[int, ...]) -> nn.Module:
        return overlay(factory(num_features, spatial), GhostBatches, norm_batch=norm_batch)

    return replace(factory, make=make)


def batches_measured(layer: nn.Module, examples: int) -> list[int]:
    """Return the sizes of the batches that `layer` measures one by one in a training pass of `examples`."""
    return chunk_sizes(examples, layer.norm_batch) if isinstance(layer, GhostBatches) else [examples]


def chunk_sizes(examples: int, norm_batch: int) -> list[int]:
    """Return the sizes of the chunks of a pass: norm_batch each; one example left over joins the last."""
    full, rest = divmod(examples, norm_batch)
    sizes = [norm_batch] * full
    if rest == 1 and full:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def _added(total: Tensor, before: Tensor, later: Tensor, share: float) -> Tensor:
    """Add a chunk's share of the change; a count is the same after every chunk."""
    return total + share * (later - before) if later.is_floating_point() else later

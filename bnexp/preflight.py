"""What is known to go wrong, found before training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnexp.engine.evaluate import evaluation_mode


@dataclass(frozen=True)
class NormSite:
    """One place of a norm: `spatial` is () in a dense layer; `kind` is the class that stands there."""

    name: str
    kind: str
    num_features: int
    spatial: tuple[int, ...]
    batch_statistics: bool

    def values_per_channel(self, examples: int) -> int:
        """Return how many values a batch of `examples` gives each channel's statistics."""
        return examples * math.prod(self.spatial)


def norm_sites(model: nn.Module, image_shape: tuple[int, int, int]) -> list[NormSite]:
    """Return the places of norms in the order of computation, seen by passing two blank images through."""
    units = [(name, unit) for name, unit in model.named_modules() if "norm" in dict(unit.named_children())]
    sites: list[NormSite] = []

    def record(name: str, batch_statistics: bool) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            features, *spatial = inputs[0].shape[1:]
            sites.append(NormSite(name, type(module).__name__, features, tuple(spatial), batch_statistics))

        return hook

    handles = [
        unit.norm.register_forward_pre_hook(record(f"{name}.norm", bool(unit.batch_statistics)))
        for name, unit in units
        if isinstance(unit.norm, nn.Module)
    ]
    try:
        with evaluation_mode(model), torch.no_grad():
            model(torch.zeros(2, *image_shape, device=next(model.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return sites


def problems(sites: Sequence[NormSite], batch_sizes: Sequence[int]) -> list[str]:
    """Return a line where a norm could not train on a forward pass of one of `batch_sizes` examples."""
    smallest = min(batch_sizes)
    starved = [site for site in sites if site.batch_statistics and site.values_per_channel(smallest) == 1]
    if not starved:
        return []
    others = f" (and {len(starved) - 1} more)" if len(starved) > 1 else ""
    return [
        f"a batch of {smallest} example gives {starved[0].name}{others} one value per channel, whose variance is 0: "
        "train on at least 2 (batch_size, drop_last=auto), or use head_norm=none or norm=group there"
    ]

"""Where running statistics must stand after k batches, as weighted sums over all of them.

Of k batches the i-th (from 0) weighs momentum * (1 - momentum)^(k - 1 - i) and the start (1 - momentum)^k;
without a momentum each weighs 1 / k and the start nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnexp.parity.oracles import moments

State = Mapping[str, Tensor]


def batch(batches: Sequence[Tensor], start: State, knobs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Running mean and variance, of which the latter sums squares over n - 1, or over n where `biased`."""
    means, variances = [], []
    for x in batches:
        n = x.numel() // x.shape[1]
        mean, biased = moments(x, (0, *range(2, x.dim())))
        means.append(mean.flatten())
        variances.append(biased.flatten() * (1 if knobs.get("running_var") == "biased" else n / (n - 1)))
    return _kept(start, means, variances, knobs["momentum"])


def renorm(batches: Sequence[Tensor], start: State, knobs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Running mean, and the square of an average of sqrt(biased var + eps), from which eps is taken away."""
    every = [moments(x, (0, *range(2, x.dim()))) for x in batches]
    means, stds = zip(*((m.flatten(), (v.flatten() + knobs["eps"]).sqrt()) for m, v in every), strict=True)
    start_std = (start["running_var"] + knobs["eps"]).sqrt()
    found = _kept(start, means, stds, knobs["momentum"])
    found["running_var"] = weighted(stds, start_std, knobs["momentum"]) ** 2 - knobs["eps"]
    return found


def _kept(
    start: State, means: Sequence[Tensor], variances: Sequence[Tensor], momentum: float | None
) -> dict[str, Tensor]:
    """Return those that the layer keeps."""
    averaged = {"running_mean": means, "running_var": variances}
    kept = {n: weighted(v, start[n], momentum) for n, v in averaged.items() if n in start}
    if "num_batches_tracked" in start:
        kept["num_batches_tracked"] = start["num_batches_tracked"] + len(means)
    return kept


def unmoved(batches: Sequence[Tensor], start: State, knobs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The buffers of a layer that never moves them."""
    return dict(start)


def weighted(values: Sequence[Tensor], start: Tensor, momentum: float | None) -> Tensor:
    k = len(values)
    weights = [1 / k if momentum is None else momentum * (1 - momentum) ** (k - 1 - i) for i in range(k)]
    of_start = 0.0 if momentum is None else (1 - momentum) ** k
    return torch.stack([of_start * start, *(w * v for w, v in zip(weights, values, strict=True))]).sum(0)

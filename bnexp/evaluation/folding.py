"""What folding norms into weights changes: the logits, by rounding, and the time of a forward pass."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from bnexp.engine.device import Precision
from bnexp.engine.evaluate import evaluation_mode
from bnexp.errors import ConfigError
from bnexp.norms.modifiers.fold import fold
from bnexp.protocols import EvalBatches

ROUNDS = 15
SECONDS = 10.0  # for networks whose passes are long; three rounds are always made


@dataclass(frozen=True)
class Folding:
    """norms: the folded ones, by qualified name; the differences are over all logits of the split.

    speedup: the median time of a pass before folding, divided by that after, on `device`.
    """

    norms: list[str]
    largest_difference: float
    largest_logit: float
    speedup: float


def measure_folding(model: nn.Module, batches: EvalBatches, precision: Precision) -> Folding:
    """Fold a copy of `model` and measure it beside the original, batch by batch.

    Raises:
        ConfigError: there is nothing to fold.
    """
    folded, names = fold(model)
    if not names:
        raise ConfigError(
            "fold=true needs a norm with running statistics right behind a weight layer, this network has "
            "none: train one with norm=custom or builtin and placement=pre, or leave fold out"
        )
    differences, logits = [], []
    with evaluation_mode(model), torch.no_grad(), precision.autocast():
        for batch in batches:
            expected = model(batch.inputs)
            differences.append((folded(batch.inputs) - expected).abs().max())
            logits.append(expected.abs().max())
        first = next(iter(batches)).inputs
        before, after = _times(model, folded, first)
    return Folding(
        norms=names,
        largest_difference=float(torch.stack(differences).max()),
        largest_logit=float(torch.stack(logits).max()),
        speedup=before / after,
    )


def _times(model: nn.Module, folded: nn.Module, inputs: Tensor) -> tuple[float, float]:
    """Return both median times of a pass; the networks take turns, so that other load meets both alike."""
    networks = {"before": model, "after": folded}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for network in networks.values():
        network(inputs)
    started = time.perf_counter()
    while len(times["after"]) < ROUNDS:
        for name in sorted(networks, reverse=len(times["after"]) % 2 == 0):
            times[name].append(_time(networks[name], inputs))
        if len(times["after"]) >= 3 and time.perf_counter() - started > SECONDS:
            break
    return median(times["before"]), median(times["after"])


def _time(network: nn.Module, inputs: Tensor) -> float:
    _wait(inputs.device)
    started = time.perf_counter()
    network(inputs)
    _wait(inputs.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

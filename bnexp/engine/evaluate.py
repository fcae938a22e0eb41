"""Loss and accuracy over a split, averaged over examples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnexp.engine.precision import Precision
from bnexp.protocols import EvalBatches


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode and give every module its own mode back, whatever happens."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def predict(model: nn.Module, batches: EvalBatches, precision: Precision) -> Tensor:
    """Return the predicted class of every example, int64 (N,), on the device."""
    with evaluation_mode(model), torch.no_grad(), precision.autocast():
        return torch.cat([model(batch.inputs).argmax(1) for batch in batches])


def evaluate(model: nn.Module, batches: EvalBatches, precision: Precision) -> dict[str, float]:
    """Return `loss` (mean cross-entropy in nats) and `accuracy` over all examples of `batches`.

    Sums stay on the device and are transferred once, so that no batch waits for the host.
    """
    loss_sums: list[Tensor] = []
    hits: list[Tensor] = []
    with evaluation_mode(model), torch.no_grad():
        for batch in batches:
            with precision.autocast():
                logits = model(batch.inputs)
                loss_sums.append(F.cross_entropy(logits, batch.targets, reduction="sum"))
            hits.append((logits.argmax(1) == batch.targets).sum())
    loss_sum, hit_count = (torch.stack(parts).cpu().double().sum().item() for parts in (loss_sums, hits))
    return {"loss": loss_sum / len(batches), "accuracy": hit_count / len(batches)}

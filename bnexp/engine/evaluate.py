"""The metrics of a split, over all its examples whatever the batches in which they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnexp import metrics
from bnexp.engine import measures
from bnexp.engine.device import Precision, widest
from bnexp.engine.learner import Passes
from bnexp.protocols import EvalBatches, Measurement, Reading


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
    """Return what `bnexp.metrics.MEASURED` names, in its order, over all examples of `batches`.

    Sums stay on the device and are transferred once, so that no batch waits for the host.
    """
    loss_sums: list[Tensor] = []
    logits: list[Tensor] = []
    targets: list[Tensor] = []
    with evaluation_mode(model), torch.no_grad():
        for batch in batches:
            with precision.autocast():
                logits.append(model(batch.inputs))
                loss_sums.append(F.cross_entropy(logits[-1], batch.targets, reduction="sum"))
            targets.append(batch.targets)
        loss = torch.stack(loss_sums).cpu().double().sum().item() / len(batches)
        return {"loss": loss} | measure(torch.cat(logits), torch.cat(targets))


def measure(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Return all metrics of a whole split but the loss, by name.

    Shape: logits (N, K) of any floating type, targets int64 (N,), on one device.
    """
    names = [name for name in metrics.measured(logits.shape[1]) if name != "loss"]
    values = {name: _values(name, logits, targets) for name in names}
    sums = torch.stack([value.sum() for value in values.values()]).tolist()
    return {name: total / values[name].numel() for name, total in zip(names, sums, strict=True)}


def batch_metrics(passes: Passes) -> Reading:
    """Return the watched metrics of the batch that is trained on, in training mode, as `NAME/train`."""
    own = {"loss": passes.loss.float(), "accuracy": passes.accuracy()}
    num_classes = passes.logits[0].shape[1]
    names = [one.name for one in metrics.WATCHED if num_classes >= one.least_classes]
    values = [
        own[name]
        if name in own
        else _values(name, torch.cat(passes.logits), torch.cat(passes.targets)).mean()
        for name in names
    ]
    tags = [f"{name}/train" for name in names]
    return Reading(torch.stack(values), lambda numbers: Measurement(dict(zip(tags, numbers, strict=True))))


def _values(name: str, logits: Tensor, targets: Tensor) -> Tensor:
    width = widest(logits.device)
    found: Tensor = getattr(measures, name)(logits.to(width), targets)
    return found.to(width)

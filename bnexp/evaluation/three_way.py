"""The metrics of the same weights under running, batch and recalibrated statistics."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnexp.data.batches import EvalBatches
from bnexp.engine.device import Precision
from bnexp.engine.evaluate import evaluation_mode, measure
from bnexp.engine.measures import accuracy
from bnexp.metrics import STATISTICS, THREE_WAY
from bnexp.norms.modifiers.recalibrate import batch_mode, recalibrate, tracking
from bnexp.protocols import Split
from bnexp.seeding import stream


@dataclass(frozen=True)
class Scores:
    """Losses (nats, float64) and hits (bool) of each example, (N,), on the host, and what follows from both.

    others: the metrics besides, by name.
    """

    losses: Tensor
    hits: Tensor
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        return float(self.losses.mean())

    @property
    def accuracy(self) -> float:
        return int(self.hits.sum()) / len(self.hits)

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics of `bnexp.metrics.MEASURED` by name."""
        return {"loss": self.loss, "accuracy": self.accuracy} | dict(self.others)


@dataclass(frozen=True)
class Examples:
    """What is measured, and what is recalibrated by.

    whole: the split as evaluation goes through it. mixed: its examples number order[0], order[1], ... in
    batches as large as in training. calibration: training examples in such batches, also mixed.
    """

    whole: EvalBatches
    mixed: EvalBatches
    order: Tensor
    calibration: EvalBatches
    batch_size: int


@dataclass(frozen=True)
class ThreeWay:
    """The scores of each kind of statistics, and the network with recalibrated ones.

    layers: those whose running statistics stand against the batch's. Where there is none, only `running` is
        scored, which then is what evaluation does.
    failure: why there are no recalibrated statistics.
    """

    scores: dict[str, Scores]
    layers: list[str]
    network: nn.Module
    batch_size: int
    failure: str | None = None


def examples(
    train: Split,
    held: Split,
    samples: int,
    *,
    seed: int,
    batch_size: int,
    eval_batch_size: int,
    batches: Callable[..., EvalBatches],
) -> Examples:
    """Return the batches to compare by on `held`, with at most `samples` of the training split.

    Their order depends on the run's seed alone: a class-sorted split would give every batch the statistics
    of one class. A remainder of one example joins the batch before, because it has no variance. Training
    images are taken without augmentation, as those that are evaluated.

    Args:
        batches: makes `EvalBatches` of a split, given `batch_size` and `smallest`.
    """
    order = torch.randperm(len(held), generator=stream(seed, "three_way", "order"))
    chosen = torch.randperm(len(train), generator=stream(seed, "three_way", "samples"))
    smallest = min(2, batch_size)
    return Examples(
        whole=batches(held, batch_size=eval_batch_size, smallest=1),
        mixed=batches(_taken(held, order), batch_size=batch_size, smallest=smallest),
        order=order,
        calibration=batches(_taken(train, chosen[:samples]), batch_size=batch_size, smallest=smallest),
        batch_size=batch_size,
    )


def compare(
    model: nn.Module, given: Examples, precision: Precision, *, layer_by_layer: bool = False
) -> ThreeWay:
    """Measure a copy of `model` three times; the network itself and every random stream stay untouched."""
    network = copy.deepcopy(model)
    with _torchs_streams_kept(next(model.parameters()).device):
        scores, layers = _running_and_batch(network, given, precision)
        failure = _recalibrate(network, given, precision, layer_by_layer) if layers else None
        if layers and failure is None:
            with evaluation_mode(network):
                scores["recalibrated"] = _scores(network, given.whole, precision)
    return ThreeWay(scores, layers, network, given.batch_size, failure)


def gap(model: nn.Module, given: Examples, precision: Precision) -> dict[str, float] | None:
    """Return accuracies of a copy of `model` by `running` and `batch` statistics, and of how many `examples`.

    None where no layer has both.
    """
    if not tracking(model):
        return None
    with _torchs_streams_kept(next(model.parameters()).device):
        scores, layers = _running_and_batch(copy.deepcopy(model), given, precision)
    found = {kind: one.accuracy for kind, one in scores.items()}
    return found | {"examples": len(given.whole)} if layers else None


def _running_and_batch(
    network: nn.Module, given: Examples, precision: Precision
) -> tuple[dict[str, Scores], list[str]]:
    """Return the scores of both kinds of statistics, and the layers that have both."""
    with evaluation_mode(network):
        scores = {"running": _scores(network, given.whole, precision)}
    with batch_mode(network) as found:
        layers = list(found)
        if layers:
            scores["batch"] = _in_order(_scores(network, given.mixed, precision), given.order)
    return scores, layers


def scalars(comparison: ThreeWay) -> dict[str, float]:
    """Return three_way/METRIC/running|batch|recalibrated; none where there is nothing to compare."""
    if not comparison.layers:
        return {}
    missing = dict.fromkeys(comparison.scores["running"].metrics, math.nan)
    scores = {kind: comparison.scores.get(kind) for kind in STATISTICS}
    return {
        f"{THREE_WAY}/{name}/{kind}": value
        for kind, found in scores.items()
        for name, value in (found.metrics if found else missing).items()
    }


def notes(every: int | None, model: nn.Module) -> list[str]:
    """Return a line where comparisons are asked for during training and there is nothing to compare."""
    if every is None or tracking(model):
        return []
    return ["telemetry.three_way_every has no effect: no layer of this network has running statistics"]


def _recalibrate(
    network: nn.Module, given: Examples, precision: Precision, layer_by_layer: bool
) -> str | None:
    try:
        with precision.autocast():
            recalibrate(network, _Inputs(given.calibration), layer_by_layer=layer_by_layer)
    except ArithmeticError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class _Inputs:
    """The inputs of batches, any number of times."""

    batches: EvalBatches

    def __iter__(self) -> Iterator[Tensor]:
        return (batch.inputs for batch in self.batches)


def _scores(model: nn.Module, batches: EvalBatches, precision: Precision) -> Scores:
    losses, logits, targets = [], [], []
    with torch.no_grad():
        for batch in batches:
            with precision.autocast():
                logits.append(model(batch.inputs))
                losses.append(F.cross_entropy(logits[-1], batch.targets, reduction="none"))
            targets.append(batch.targets)
    whole, classes = torch.cat(logits), torch.cat(targets)
    others = {name: value for name, value in measure(whole, classes).items() if name != "accuracy"}
    return Scores(torch.cat(losses).cpu().double(), accuracy(whole, classes).cpu(), others)


def _in_order(scores: Scores, order: Tensor) -> Scores:
    """Return scores of examples number order[0], order[1], ... as those of 0, 1, ..."""
    back = order.argsort()
    return replace(scores, losses=scores.losses[back], hits=scores.hits[back])


def _taken(split: Split, index: Tensor) -> Split:
    index = index.to(split.labels.device)
    return Split(split.images[index], split.labels[index])


def _torchs_streams_kept(device: torch.device) -> AbstractContextManager[None]:
    """Give torch's own random streams their states back: a user's norm may draw from them."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])

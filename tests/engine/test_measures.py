"""Each metric against its definition, written in numpy and float64 with loops, and whatever the batches."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from splits_in_batches import Parts
from torch import Tensor, nn

from bnexp import metrics
from bnexp.engine import measures
from bnexp.engine.device import Precision
from bnexp.engine.evaluate import evaluate, measure

FLOAT32 = Precision("float32", torch.device("cpu"))
Array = NDArray[np.float64]


def probabilities(logits: Array) -> Array:
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def oracle(logits: Array, targets: NDArray[np.int64]) -> dict[str, float]:
    """Return all metrics but the loss, an example at a time."""
    p = probabilities(logits)
    n, k = p.shape
    ranks = [
        list(np.argsort(-row, kind="stable")).index(label) for row, label in zip(logits, targets, strict=True)
    ]
    found = {"accuracy": sum(rank == 0 for rank in ranks) / n}
    if k >= 6:
        found["top5"] = sum(rank < 5 for rank in ranks) / n
    found["nll"] = sum(-math.log(p[i, targets[i]]) for i in range(n)) / n
    found["brier"] = sum((p[i, c] - (c == targets[i])) ** 2 for i in range(n) for c in range(k)) / n
    found["ece"] = 0.0
    for lower, upper in ((m / 15, (m + 1) / 15) for m in range(15)):
        held = [i for i in range(n) if lower < p[i].max() <= upper]
        if held:
            right = np.mean([ranks[i] == 0 for i in held])
            confidence = np.mean([p[i].max() for i in held])
            found["ece"] += len(held) / n * abs(right - confidence)
    return found


def split(n: int, k: int, seed: int = 0, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Logits that know something of the classes."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(k, (n,), generator=generator)
    logits = scale * torch.randn(n, k, generator=generator, dtype=torch.float64)
    return logits + scale * nn.functional.one_hot(targets, k), targets


@pytest.mark.parametrize("n, k", [(1, 2), (200, 2), (57, 5), (58, 6), (500, 10), (300, 100)])
@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0])
def test_each_is_what_its_definition_says(n: int, k: int, scale: float) -> None:
    """float64 against float64 (rtol, atol 1e-12)."""
    logits, targets = split(n, k, scale=scale)
    expected = oracle(logits.numpy(), targets.numpy())
    found = measure(logits, targets)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


def test_the_numbers_of_a_split_that_can_be_counted_by_hand() -> None:
    """Three of four are sure, two of these right; the fourth says .5 and .5, and its class is the second."""
    sure = 40.0
    logits = torch.tensor([[sure, 0], [0, sure], [sure, 0], [1, 1]], dtype=torch.float64)
    found = measure(logits, torch.tensor([0, 1, 1, 1]))
    assert found["accuracy"] == 0.5
    assert found["nll"] == pytest.approx((sure + math.log(2)) / 4, rel=1e-12)
    assert found["brier"] == pytest.approx((0 + 0 + 2 + 0.5) / 4, rel=1e-12)
    assert found["ece"] == pytest.approx((abs(2 - 3) + abs(0 - 0.5)) / 4, rel=1e-12)


@pytest.mark.parametrize("confidence, count, right", [(0.8, 1000, 800), (0.6, 10, 6)])
def test_a_network_that_is_right_as_often_as_it_says_is_calibrated(
    confidence: float, count: int, right: int
) -> None:
    logits = torch.tensor([math.log(confidence), math.log(1 - confidence)], dtype=torch.float64)
    targets = (torch.arange(count) >= right).long()
    assert measure(logits.expand(count, 2), targets)["ece"] == pytest.approx(0, abs=1e-12)
    assert measure(logits.expand(count, 2), 1 - targets)["ece"] == pytest.approx(
        confidence - (count - right) / count, rel=1e-12
    )


def test_calibration_errors_do_not_cancel_between_bins() -> None:
    """Half is sure at .95 and right in half of its cases, half says .55 and is always right."""
    logits = torch.log(torch.tensor([[0.95, 0.05]] * 4 + [[0.55, 0.45]] * 4, dtype=torch.float64))
    targets = torch.tensor([0, 0, 1, 1, 0, 0, 0, 0])
    assert measure(logits, targets)["ece"] == pytest.approx(0.45, rel=1e-12)


def test_a_confidence_at_an_edge_belongs_to_the_bin_below() -> None:
    """1/3 = 5/15 with (6/15): one bin would give |1 - 1/3 - 6/15| / 2, two give (2/3 + 6/15) / 2."""
    edge = torch.zeros(1, 3, dtype=torch.float64)
    above = torch.log(torch.tensor([[0.4, 0.3, 0.3]], dtype=torch.float64))
    found = measure(torch.cat([edge, above]), torch.tensor([0, 1]))
    assert found["ece"] == pytest.approx((2 / 3 + 0.4) / 2, rel=1e-12)


def test_equal_logits_count_in_their_order() -> None:
    """A network that says the same of all has five of ten classes among its first five, not all of them."""
    found = measure(torch.zeros(10, 10), torch.arange(10))
    assert (found["accuracy"], found["top5"]) == (0.1, 0.5)


@pytest.mark.parametrize("k", [2, 5])
def test_top_5_of_fewer_than_six_classes_is_left_out(k: int) -> None:
    """It would be 1 whatever the network does."""
    logits, targets = split(20, k)
    assert "top5" not in measure(logits, targets)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_have_no_score(value: float) -> None:
    logits, targets = split(30, 10)
    logits[7] = value
    found = measure(logits, targets)
    assert math.isfinite(found["accuracy"])
    assert all(math.isnan(found[name]) for name in ("nll", "brier", "ece"))
    assert math.isnan(found["top5"]) == math.isnan(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_logits_of_low_precision_are_scored_in_float64(dtype: torch.dtype) -> None:
    logits, targets = split(400, 10)
    rounded = logits.to(dtype)
    expected = oracle(rounded.double().numpy(), targets.numpy())
    for name, value in measure(rounded, targets).items():
        assert value == pytest.approx(expected[name], rel=1e-12, abs=1e-12), name


@pytest.mark.parametrize("size", [1, 7, 64, 99, 200])
def test_the_batches_of_evaluation_leave_no_trace(size: int) -> None:
    """The logits are the inputs, so nothing but the split can differ: equal bit for bit, but the loss."""
    logits, targets = split(200, 10)
    found, whole = (
        evaluate(nn.Identity(), Parts(logits.float(), targets, each), FLOAT32) for each in (size, 200)
    )
    assert list(found) == metrics.measured(10)
    assert {**found, "loss": 0.0} == {**whole, "loss": 0.0}
    assert found["loss"] == pytest.approx(found["nll"], rel=1e-6)  # float32 sums


def test_every_metric_of_a_split_has_its_function() -> None:
    functions = {name for name, value in vars(measures).items() if inspect.isfunction(value)}
    assert functions | {"loss"} == {one.name for one in metrics.MEASURED}

"""Normalization by running statistics in training."""

from __future__ import annotations

import pytest
import variant_checks as checks
from batch_norm_checks import SHAPES, batch

EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)


@EVERY_SHAPE
def test_training_normalizes_by_the_averages_before_the_batch(shape: tuple[int, ...]) -> None:
    checks.check_running_normalizes_by_the_averages_before(shape)


@EVERY_SHAPE
def test_the_gradient_takes_the_averages_for_constants(shape: tuple[int, ...]) -> None:
    checks.check_runnings_gradient_takes_the_averages_for_constants(shape)


@pytest.mark.parametrize("kind", ["unbiased", "biased"])
@pytest.mark.parametrize("momentum", [0.3, 0.0, 1.0, None])
def test_each_batch_moves_the_averages(momentum: float | None, kind: str) -> None:
    checks.check_running_moves_towards_the_batch(momentum, kind)


def test_one_value_a_channel_is_refused_in_training_only() -> None:
    checks.check_running_refuses_one_value()
    assert checks.running().eval()(batch((1, 3))).shape == (1, 3)

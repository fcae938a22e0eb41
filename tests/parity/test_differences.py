"""Derivatives by differences, which the matrix takes for the truth, where they are known."""

from __future__ import annotations

import pytest
import torch
from oracles import assert_close
from torch import Tensor

from bnexp.parity.gradients import by_differences, slopes_by_differences


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("mapped", [True, False])
def test_differences_find_a_known_gradient(mapped: bool) -> None:
    x = draw(3, 2)
    found = by_differences(lambda x: (x**3 + x.sin()).sum(), x, mapped=mapped)
    assert_close(found, 3 * x**2 + x.cos(), rtol=1e-10, atol=1e-10)


def test_differences_along_a_line() -> None:
    x, v = draw(4), draw(4, seed=1)
    slope, constant = slopes_by_differences(lambda step: [(x + step * v).exp(), x])
    assert_close(slope, v * x.exp(), rtol=1e-10, atol=1e-10)
    assert_close(constant, torch.zeros(4), rtol=0, atol=1e-10)

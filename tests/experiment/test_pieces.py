"""The parts of a run that a user's own code makes are given what they ask for."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from bnexp.experiment.pieces import optimizer_of
from bnexp.optimization.optimizers import sgd


def of_network(model: nn.Module, *, lr: float = 0.1, **more: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, **more)


class OfNetwork(torch.optim.SGD):
    def __init__(self, model: nn.Module, *, lr: float = 0.1) -> None:
        super().__init__(model.parameters(), lr=lr)


def of_norms(model: nn.Module, norms: dict[str, nn.Module], *, lr: float = 0.1) -> torch.optim.Optimizer:
    assert list(norms) == ["norm"]
    return torch.optim.SGD(model.parameters(), lr=lr)


@pytest.mark.parametrize("make", [of_network, OfNetwork, of_norms, sgd], ids=lambda make: make.__name__)
def test_an_optimizer_gets_the_network_and_its_norms_if_it_asks_for_them(make: Any) -> None:
    model = nn.ModuleDict({"linear": nn.Linear(2, 2), "norm": nn.BatchNorm1d(2)})
    optimizer = optimizer_of(partial(make, lr=0.3), model)
    assert optimizer.param_groups[0]["lr"] == 0.3
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4

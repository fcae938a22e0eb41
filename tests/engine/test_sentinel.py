"""On an accelerator one bad loss is remembered until somebody looks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnexp.engine.device import Precision
from bnexp.engine.divergence import Sentinel
from bnexp.engine.learner import Learner


def sentinel(*, on_host: bool) -> Sentinel:
    model, precision = nn.Linear(2, 2), Precision("float32", torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Sentinel(Learner(model, optimizer, precision.scaler(), precision, {}), every=3, on_host=on_host)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_bad_loss_is_not_forgotten_over_good_ones(bad: float) -> None:
    watch = sentinel(on_host=False)
    assert not watch.before(0)
    for value in (1.0, bad, 1.0):
        assert not watch.observe(torch.tensor(value))
        assert watch.loss is None
    assert watch.flagged() and watch.before(3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_on_the_host_a_bad_loss_is_known_at_once(bad: float) -> None:
    watch = sentinel(on_host=True)
    assert not watch.observe(torch.tensor(2.5)) and watch.loss == 2.5
    assert watch.observe(torch.tensor(bad))


def test_unsound_weights_are_noticed_before_they_are_copied() -> None:
    watch = sentinel(on_host=True)
    assert not watch.before(0)
    with torch.no_grad():
        watch.learner.model.get_parameter("weight")[0, 0] = float("inf")
    assert [watch.before(step) for step in (1, 2, 3)] == [False, False, True]

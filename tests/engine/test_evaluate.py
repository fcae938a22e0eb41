"""Evaluation measures a whole split and leaves the network as it found it."""

from __future__ import annotations

import math

import pytest
import torch
from splits_in_batches import Parts
from torch import nn

from bnexp.engine.device import Precision
from bnexp.engine.evaluate import evaluate, evaluation_mode
from bnexp.models.dropout import Dropout, seed_noise
from bnexp.norms.custom import CustomNorm

FLOAT32 = Precision("float32", torch.device("cpu"))


@pytest.fixture
def split() -> Parts:
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(10, 3, generator=generator) * 4, torch.arange(10) % 3
    return Parts(inputs, targets, size=4)


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), Dropout(0.5), nn.Linear(8, 8), CustomNorm(8, ()), nn.Linear(8, 3)
    )
    seed_noise(model, 0, "cpu")
    return model


@pytest.mark.parametrize("size", [1, 3, 4, 7, 9, 10, 100])
def test_means_are_over_examples_whatever_the_batches(split: Parts, size: int) -> None:
    """The logits are the inputs; expected values in float64 by their definition (rtol 1e-6, float32 sums)."""
    losses, hits = [], []
    for logits, target in zip(split.inputs.tolist(), split.targets.tolist(), strict=True):
        losses.append(math.log(sum(math.exp(z - logits[target]) for z in logits)))
        hits.append(max(range(3), key=logits.__getitem__) == target)
    found = evaluate(nn.Identity(), Parts(split.inputs, split.targets, size), FLOAT32)
    assert found["loss"] == pytest.approx(sum(losses) / 10, rel=1e-6)
    assert found["accuracy"] == sum(hits) / 10
    uneven = [sum(losses[:9]) / 9, losses[9]]
    assert found["loss"] != pytest.approx(sum(uneven) / 2, rel=1e-3)


def test_every_module_gets_its_own_mode_back(network: nn.Sequential, split: Parts) -> None:
    network.train()
    network[1].eval()  # a frozen norm
    before = [module.training for module in network.modules()]
    evaluate(network, split, FLOAT32)
    assert [module.training for module in network.modules()] == before
    assert before.count(False) == 1


def test_modes_come_back_after_an_error(network: nn.Sequential, split: Parts) -> None:
    network.train()
    network[4].eval()
    before = [module.training for module in network.modules()]
    with pytest.raises(RuntimeError):
        evaluate(network, Parts(torch.zeros(10, 4), split.targets, 4), FLOAT32)
    assert [module.training for module in network.modules()] == before


def test_a_network_in_evaluation_mode_stays_there(network: nn.Sequential) -> None:
    network.eval()
    with evaluation_mode(network):
        assert not any(module.training for module in network.modules())
    assert not any(module.training for module in network.modules())


def test_nothing_but_the_modes_is_touched(network: nn.Sequential, split: Parts) -> None:
    """Weights, buffers, gradients and every random stream are as before."""
    network.train()
    network(split.inputs).sum().backward()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    noise = network[2].generator
    assert isinstance(noise, torch.Generator)
    streams = torch.get_rng_state(), noise.get_state()
    evaluate(network, split, FLOAT32)
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name]), name
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        assert parameter.grad is not None and torch.equal(parameter.grad, gradient)
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert torch.equal(noise.get_state(), streams[1])


def test_evaluation_uses_running_statistics_and_no_dropout(network: nn.Sequential, split: Parts) -> None:
    network.train()
    for _ in range(3):
        network(split.inputs)
    alone = [evaluate(network, Parts(split.inputs, split.targets, size), FLOAT32) for size in (1, 10)]
    assert alone[0]["loss"] == pytest.approx(alone[1]["loss"], rel=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_losses_of_low_precision_are_summed_in_float32(precision: str) -> None:
    """1,000 equal losses of ln 10: a sum in bfloat16 would stop growing at 512, one in float16 round to 2."""
    inputs, targets = torch.zeros(1000, 10), torch.zeros(1000, dtype=torch.int64)
    linear = nn.Linear(10, 10, bias=False)
    found = evaluate(linear, Parts(inputs, targets, 1000), Precision(precision, torch.device("cpu")))
    assert found["loss"] == pytest.approx(math.log(10), rel=1e-5)

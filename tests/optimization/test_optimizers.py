"""Optimizers: what they decay, that they step as torch's, and the values they refuse."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from bnexp.errors import ConfigError
from bnexp.optimization.optimizers import adam, adamw, sgd


class Nested(nn.Module):
    """A norm with parameters of several shapes, one of them in a layer of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 3, 3))
        self.inner = nn.Linear(2, 2)


def network():
    torch.manual_seed(0)
    unit = nn.ModuleDict({"linear": nn.Conv2d(1, 2, 3), "norm": Nested()})
    return nn.ModuleDict({"conv1": unit, "plain": nn.GroupNorm(1, 4), "classifier": nn.Linear(4, 2)})


ALL = {name for name, _ in network().named_parameters()}
SPARED = {
    "conv1.linear.bias",
    "conv1.norm.scale",
    "conv1.norm.inner.weight",
    "conv1.norm.inner.bias",
    "plain.bias",
    "classifier.bias",
}


def moved_by_decay(build):
    """Return the names of the parameters that a step with zero gradients changes."""
    model = network()
    for parameter in model.parameters():
        parameter.data += 1  # no zeros, which decay would leave where they are
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    build(model, {"conv1.norm": model["conv1"]["norm"]}).step()
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("build", [sgd, adam, adamw])
def test_decay_reaches_everything_unless_told_to_spare_norms_and_biases(build):
    assert moved_by_decay(partial(build, weight_decay=0.1)) == ALL
    assert moved_by_decay(partial(build, weight_decay=0.1, decay_norm=False)) == ALL - SPARED
    assert moved_by_decay(partial(build, weight_decay=0.0)) == set()


@pytest.mark.parametrize("decay_norm", [True, False])
def test_every_parameter_is_in_one_group(decay_norm):
    model = network()
    optimizer = sgd(model, {"conv1.norm": model["conv1"]["norm"]}, decay_norm=decay_norm)
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


TWINS = {
    "sgd": (partial(sgd, lr=0.1, momentum=0.8, weight_decay=0.01), torch.optim.SGD),
    "nesterov": (partial(sgd, lr=0.1, momentum=0.8, nesterov=True), torch.optim.SGD),
    "adam": (partial(adam, lr=0.01, betas=[0.8, 0.9], eps=1e-3, weight_decay=0.1), torch.optim.Adam),
    "adamw": (partial(adamw, lr=0.01, betas=[0.8, 0.9], eps=1e-3, weight_decay=0.1), torch.optim.AdamW),
}


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("decay_norm", [True, False])
def test_steps_are_torchs(twin, decay_norm):
    build, torchs = TWINS[twin]
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    one = build(ours, {}, decay_norm=decay_norm)
    knobs = {**build.keywords, **({"betas": (0.8, 0.9)} if "betas" in build.keywords else {})}
    spared = {"params": [theirs.bias], **({} if decay_norm else {"weight_decay": 0.0})}
    two = torchs([{"params": [theirs.weight]}, spared], **knobs)
    for _ in range(5):
        x = torch.randn(4, 3)
        for model, optimizer in ((ours, one), (theirs, two)):
            optimizer.zero_grad()
            (model(x) ** 2).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=0)
    torch.testing.assert_close(ours.bias, theirs.bias, rtol=0, atol=0)


@pytest.mark.parametrize("build", [sgd, adam, adamw])
def test_a_learning_rate_of_zero_is_allowed_and_moves_nothing(build):
    assert moved_by_decay(partial(build, lr=0.0, weight_decay=0.1)) == set()


@pytest.mark.parametrize("build", [sgd, adam, adamw])
@pytest.mark.parametrize("knob", ["lr", "weight_decay"])
@pytest.mark.parametrize("value", [-0.1, math.nan, "fast", None, True])
def test_impossible_rates_are_refused(build, knob, value):
    with pytest.raises(ConfigError, match=rf"^optimizer\.{knob} must be at least 0, got "):
        build(network(), {}, **{knob: value})


@pytest.mark.parametrize("build", [sgd, adam, adamw])
@pytest.mark.parametrize("knob", ["lr", "weight_decay"])
@pytest.mark.parametrize("value", [math.inf, 1e40, 10**40])
def test_rates_beyond_float32_must_be_finite(build, knob, value):
    with pytest.raises(ConfigError, match=rf"^optimizer\.{knob} must be finite, .* got (inf|1)"):
        build(network(), {}, **{knob: value})


@pytest.mark.parametrize("build", [adam, adamw])
def test_adams_first_step_must_be_finite_too(build):
    """It is lr / (1 - beta1)."""
    with pytest.raises(ConfigError, match=r"^optimizer\.lr / \(1 - optimizer\.betas\[0\]\) must be finite"):
        build(network(), {}, lr=1e38)
    assert moved_by_decay(partial(build, lr=1e37, weight_decay=0.0)) is not None


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (partial(sgd, momentum=1), r"optimizer\.momentum must lie in \[0, 1\), got 1"),
        (partial(sgd, momentum=-0.5), r"optimizer\.momentum must lie in .*, got -0\.5"),
        (partial(sgd, momentum=0.0, nesterov=True), r"optimizer\.nesterov=true needs optimizer\.momentum"),
        (partial(adam, betas=[0.9, 1.0]), r"optimizer\.betas\[1\] must lie in \[0, 1\), got 1\.0"),
        (partial(adamw, betas=[-0.9, 0.9]), r"optimizer\.betas\[0\] must lie in .*, got -0\.9"),
        (partial(adam, betas=[0.9]), r"optimizer\.betas must be two numbers, got \[0\.9\]"),
        (partial(adamw, betas=0.9), r"optimizer\.betas must be two numbers, got 0\.9"),
        (partial(adam, eps=-1e-8), r"optimizer\.eps must be at least 0, got -1e-08"),
    ],
)
def test_impossible_knobs_are_refused_in_one_line(build, problem):
    with pytest.raises(ConfigError, match=f"^{problem}") as caught:
        build(network(), {})
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


def test_several_mistakes_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        sgd(network(), {}, lr=-1, weight_decay=-2, momentum=3)
    assert [problem.split()[0] for problem in caught.value.problems] == [
        "optimizer.lr",
        "optimizer.weight_decay",
        "optimizer.momentum",
    ]

"""Dropout before a norm: the predicted ratio against closed forms and against dropout as it happens."""

from __future__ import annotations

import math
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from bnexp.models.dropout import Dropout
from bnexp.models.weight_standardization import StandardizedConv2d
from bnexp.norms.custom import CustomNorm
from bnexp.preflight.variance_shift import MOST_EXAMPLES, VarianceShift, variance_shifts


def network(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(MOST_EXAMPLES, *shape, generator=torch.Generator().manual_seed(seed))


def only(model: nn.Module, inputs: Tensor) -> VarianceShift:
    torch.manual_seed(0)
    (shift,) = variance_shifts(model, ["norm"], inputs)
    return shift


@pytest.mark.parametrize(("retain", "published"), [(0.9, 0.860), (0.8, 0.732), (0.5, 0.405)])
def test_right_before_the_norm_it_is_the_closed_form_of_rectified_gaussians(
    retain: float, published: float
) -> None:
    c, v = 1 / math.sqrt(2 * math.pi), (1 - 1 / math.pi) / 2
    ratio = v / ((c * c + v) / retain - c * c)
    assert math.isclose(ratio, published, abs_tol=1e-3)
    inputs = gaussian(1, 100, 100)  # 640,000 values: moments to about 0.2 %
    shift = only(network(relu=nn.ReLU(), dropout=Dropout(1 - retain), norm=CustomNorm(1, ())), inputs)
    assert math.isclose(shift.ratio, ratio, rel_tol=0.01)
    assert (shift.norm, shift.dropout, shift.weight) == ("norm", "dropout", None)
    assert math.isclose(shift.retain, retain, rel_tol=1e-12)


def test_with_mean_zero_it_is_the_retain_probability() -> None:
    inputs = gaussian(3, 50, 50)
    shift = only(
        network(dropout=nn.Dropout(0.3), norm=nn.BatchNorm2d(3)), inputs - inputs.mean((0, 2, 3), True)
    )
    assert math.isclose(shift.ratio, 0.7, rel_tol=1e-6)


WEIGHTS = {
    "dense": (lambda: nn.Linear(8, 40), (8,)),
    "padded convolution": (lambda: nn.Conv2d(3, 40, 3, stride=2, padding=1), (3, 9, 9)),
    "groups": (lambda: nn.Conv2d(4, 40, 3, groups=2), (4, 6, 6)),
    "standardized": (lambda: StandardizedConv2d(3, 40, 3), (3, 6, 6)),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_across_a_weight_layer_it_is_what_dropout_does(name: str) -> None:
    """The noise of 64 * 40 passes gives a channel's variance to 3 %, and that of all 40 to 1 % or better."""
    make, shape = WEIGHTS[name]
    torch.manual_seed(0)
    weight, dropout = make(), Dropout(0.4)
    inputs = gaussian(*shape).abs()
    with torch.no_grad():
        kept = weight(inputs).transpose(0, 1).flatten(1)
        noisy = torch.cat([weight(dropout(inputs)) for _ in range(40)])
    happened = kept.var(1).sum() / noisy.transpose(0, 1).flatten(1).var(1).sum()
    model = network(dropout=Dropout(0.4), linear=weight, activation=nn.ReLU(), norm=CustomNorm(40, ()))
    shift = only(model, inputs)
    assert shift.weight == "linear"
    assert math.isclose(shift.ratio, float(happened), rel_tol=0.03)
    assert shift.ratio < 0.9


def test_a_flattened_image_may_lie_between() -> None:
    parts = {"dropout": Dropout(0.5), "flatten": nn.Flatten(), "linear": nn.Linear(12, 5)}
    assert only(network(**parts, norm=CustomNorm(5, ())), gaussian(3, 2, 2)).weight == "linear"


@pytest.mark.parametrize(
    "parts",
    [
        {"norm": CustomNorm(4, ()), "dropout": Dropout(0.5), "linear": nn.Linear(4, 4)},
        {"dropout": Dropout(0.0), "norm": CustomNorm(4, ())},
        {"dropout": Dropout(0.5), "a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "norm": CustomNorm(4, ())},
        {"dropout": Dropout(0.5), "other": CustomNorm(4, ()), "norm": CustomNorm(4, ())},
    ],
    ids=["behind the last norm", "p = 0", "two weight layers", "another norm between"],
)
def test_nothing_is_said_where_it_is_not_so(parts: dict[str, nn.Module]) -> None:
    assert variance_shifts(network(**parts), ["norm"], gaussian(4)) == []


class TwoWays(nn.Module):
    """The norm takes what the dropout took, not what it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.norm = Dropout(0.5), CustomNorm(4, ())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(x) + self.norm(x)
        return y


def test_a_branch_beside_the_dropout_is_not_behind_it() -> None:
    assert variance_shifts(TwoWays(), ["norm"], gaussian(4)) == []


def test_looking_changes_nothing() -> None:
    model = network(dropout=nn.Dropout(0.5), linear=nn.Linear(4, 4), norm=CustomNorm(4, ()))
    model.linear.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()
    assert variance_shifts(model, ["norm"], gaussian(4))
    assert torch.equal(torch.get_rng_state(), stream)
    assert (model.training, model.linear.training) == (True, False)
    assert not any(module._forward_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name

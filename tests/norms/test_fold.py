"""Folded networks compute what the networks they come from evaluate, and unfoldable ones stay whole."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnexp.norms.custom import CustomNorm
from bnexp.norms.evonorm import EvoNormB0
from bnexp.norms.modifiers.fold import fold
from bnexp.norms.modifiers.recalibrate import tracking


def settled(model: nn.Module) -> nn.Module:
    """In float64, with drawn weights, biases and statistics everywhere."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.double().parameters():
        nn.init.normal_(parameter, generator=generator)
    for layer in tracking(model).values():
        layer.get_buffer("running_mean").normal_(generator=generator)
        layer.get_buffer("running_var").uniform_(0.5, 4, generator=generator)
    return model.train()


def custom(num_features: int, **knobs: Any) -> nn.Module:
    return CustomNorm(num_features, (), **knobs)


def norm_1d(num_features: int, **knobs: Any) -> nn.Module:
    return nn.BatchNorm1d(num_features, **knobs)


def norm_2d(num_features: int, **knobs: Any) -> nn.Module:
    return nn.BatchNorm2d(num_features, **knobs)


def image(num: int = 6) -> Tensor:
    return torch.randn(num, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("conv_norm", [norm_2d, custom])
@pytest.mark.parametrize("dense_norm", [norm_1d, custom])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_logits_stay_the_same(conv_norm: Any, dense_norm: Any, bias: bool, affine: bool) -> None:
    """rtol and atol 1e-10: float64 sums of some 50 terms in another order."""
    model = settled(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, bias=bias),
            conv_norm(4, affine=affine, eps=1e-2),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=bias),
            conv_norm(6, affine=affine),
            nn.Flatten(),
            nn.Linear(24, 5, bias=bias),
            dense_norm(5, affine=affine),
        )
    )
    folded, names = fold(model)
    assert names == ["1", "4", "7"]
    assert not tracking(folded) and sum(isinstance(layer, nn.Identity) for layer in folded) == 3
    torch.testing.assert_close(folded(image()), model.eval()(image()), rtol=1e-10, atol=1e-10)


def test_the_network_is_left_alone() -> None:
    model = settled(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded, _ = fold(model)
    assert model.training and model[0].training and not folded.training
    assert isinstance(model[1], nn.BatchNorm2d)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_units_keep_the_names_of_their_parts() -> None:
    unit = nn.Sequential(OrderedDict(linear=nn.Linear(3, 4), norm=CustomNorm(4, ()), activation=nn.ReLU()))
    folded, names = fold(nn.Sequential(OrderedDict(dense1=unit)))
    assert names == ["dense1.norm"]
    assert [name for name, _ in folded.named_parameters()] == ["dense1.linear.weight", "dense1.linear.bias"]


@pytest.mark.parametrize(
    "between", [nn.ReLU(), nn.AvgPool2d(2), nn.Dropout(0.5)], ids=lambda layer: type(layer).__name__
)
def test_what_stands_between_keeps_them_apart(between: nn.Module) -> None:
    _, names = fold(nn.Sequential(nn.Conv2d(2, 4, 3), between, nn.BatchNorm2d(4)))
    assert names == []


class Doubling(CustomNorm):
    """Inherits everything of a batch norm and computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.GroupNorm(2, 4),
        nn.Identity(),
        Doubling(4, (4, 4)),
        EvoNormB0(4, (4, 4)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_norms_that_evaluate_otherwise_stay(norm: nn.Module) -> None:
    _, names = fold(nn.Sequential(nn.Conv2d(2, 4, 3), norm))
    assert names == []


def test_a_norm_before_its_weight_stays() -> None:
    _, names = fold(nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3, padding=1)))
    assert names == []


def test_a_weight_in_two_places_stays() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=1)
    _, names = fold(nn.Sequential(conv, nn.BatchNorm2d(2), conv))
    assert names == []


def test_a_sequence_that_computes_otherwise_stays() -> None:
    class Reversed(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](self[1](x))

    _, names = fold(Reversed(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
    assert names == []


def test_a_hooked_weight_stays() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    model[0].register_forward_pre_hook(lambda module, given: None)
    assert fold(model)[1] == []

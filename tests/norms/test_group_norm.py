"""Group normalization: values against the paper's formula, and how the number of groups is chosen."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_close, group_norm, to_array

from bnexp.errors import ConfigError
from bnexp.norms import group


def draw(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    ("shape", "groups"), [((3, 16), 2), ((3, 6, 5), 3), ((2, 6, 4, 4), 6), ((1, 6, 4, 4), 1)], ids=str
)
def test_moments_are_taken_over_each_group_of_each_example(
    shape: tuple[int, ...], groups: int, training: bool
) -> None:
    norm = group.group_norm(shape[1], shape[2:], num_groups=groups, eps=0.5).double().train(training)
    with torch.no_grad():
        norm.weight.copy_(draw((shape[1],), 1))
        norm.bias.copy_(draw((shape[1],), 2))
    x = draw(shape)
    wanted = group_norm(to_array(x), groups, to_array(norm.weight), to_array(norm.bias), 0.5)
    assert_close(norm(x), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("channels", "spatial", "groups"),
    [
        (64, (8, 8), 32),
        (128, (8, 8), 32),
        (48, (8, 8), 24),
        (6, (28, 28), 3),
        (16, (10,), 8),
        (3, (4, 4), 1),
        (1, (4, 4), 1),
        (120, (), 15),
        (84, (), 7),
        (512, (), 32),
        (10, (), 1),
        (7, (), 1),
        (64, (1, 1), 8),
    ],
)
def test_auto_takes_the_most_groups_that_hold_enough(
    channels: int, spatial: tuple[int, ...], groups: int
) -> None:
    assert group.group_norm(channels, spatial).num_groups == groups


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(2, 300), st.sampled_from([(), (1, 1), (2, 2), (7,)]))
def test_auto_always_makes_a_layer_that_trains(channels: int, spatial: tuple[int, ...]) -> None:
    norm = group.group_norm(channels, spatial).double()
    assert norm(draw((1, channels, *spatial))).isfinite().all()
    assert norm.num_groups <= 32


def test_without_affine_there_is_nothing_to_learn() -> None:
    assert list(group.group_norm(6, (4, 4), affine=False).parameters()) == []


@pytest.mark.parametrize("groups", [4, 0, -1, 7, "many", 2.5])
def test_groups_that_do_not_divide_are_refused_with_those_that_do(groups: object) -> None:
    with pytest.raises(
        ConfigError, match=r"must divide the layer's 6 channels, got .*: give one of 1, 2, 3, 6"
    ):
        group.group_norm(6, (4, 4), num_groups=groups)


@pytest.mark.parametrize(("channels", "spatial", "groups"), [(6, (), 6), (6, (1, 1), 6), (1, (), "auto")])
def test_groups_of_a_single_value_are_refused(
    channels: int, spatial: tuple[int, ...], groups: object
) -> None:
    with pytest.raises(ConfigError, match=r"at least 2 values, got . groups? for . channels?"):
        group.group_norm(channels, spatial, num_groups=groups)


def test_eps_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="eps must be above 0 and finite, got"):
        group.group_norm(6, (4, 4), eps=0.0)

"""The unit: its order, its bias, its size, and what it says when it cannot be built."""

import itertools

import norm_stand_ins as norms
import pytest
import torch
from norm_stand_ins import units
from torch import nn

from bnexp.config import ACTIVATIONS
from bnexp.errors import ConfigError, ShapeError
from bnexp.models.blocks import GlobalAverage

IMAGE = (3, 8, 8)


def parts_run(unit, x):
    """Return the names of the unit's parts in the order in which a forward pass calls them."""
    called = []
    for name, part in unit.named_children():
        part.register_forward_hook(lambda *_, name=name: called.append(name))
    unit(x)
    return called


@pytest.mark.parametrize(
    ("placement", "order"),
    [
        ("pre", ["linear", "norm", "activation"]),
        ("post", ["linear", "activation", "norm"]),
        ("preact", ["norm", "activation", "linear"]),
    ],
)
def test_placement_orders_weight_norm_and_activation(placement, order):
    make = units(placement=placement)
    assert parts_run(make.conv("u", IMAGE, 4, 3), torch.randn(2, *IMAGE)) == order
    assert parts_run(make.dense("u", (5,), 4), torch.randn(2, 5)) == order


@pytest.mark.parametrize(
    ("placement", "order"),
    [
        ("pre", ["linear", "early_pool", "norm", "activation", "pool", "dropout"]),
        ("post", ["linear", "early_pool", "activation", "norm", "pool", "dropout"]),
        ("preact", ["norm", "activation", "linear", "early_pool", "pool", "dropout"]),
    ],
)
def test_pools_stand_after_the_weight_and_at_the_end_and_dropout_last(placement, order):
    unit = units(placement=placement).conv("u", IMAGE, 4, 1, early_pool="max", pool="avg", dropout=0.5)
    assert parts_run(unit, torch.randn(2, *IMAGE)) == order


@pytest.mark.parametrize("placement", ["pre", "post", "preact"])
def test_a_norm_with_a_nonlinearity_takes_the_activations_place(placement):
    unit = units(norms.swish(), placement=placement).conv("u", IMAGE, 4, 3)
    order = ["norm", "linear"] if placement == "preact" else ["linear", "norm"]
    assert parts_run(unit, torch.randn(2, *IMAGE)) == order


def test_every_unit_has_a_norm_even_without_one():
    unit = units(norms.none()).conv("u", IMAGE, 4, 3)
    assert isinstance(unit.norm, nn.Identity)


@pytest.mark.parametrize(
    ("norm", "placement", "options", "has_bias"),
    [
        (norms.batch, "pre", {}, False),
        (norms.batch, "pre", {"early_pool": "max"}, False),
        (norms.batch, "pre", {"early_pool": "avg"}, False),
        (norms.batch, "pre", {"pool": "max", "dropout": 0.5}, False),
        (norms.batch, "pre", {"activate": False}, False),
        (norms.batch, "post", {}, True),
        (norms.batch, "post", {"early_pool": "max"}, True),
        (norms.batch, "post", {"activate": False}, False),
        (norms.batch, "preact", {}, True),
        (norms.batch, "preact", {"into_norm": True}, False),
        (norms.group, "pre", {}, True),
        (norms.group, "preact", {"into_norm": True}, True),
        (norms.none, "pre", {}, True),
        (norms.none, "post", {}, True),
        (norms.none, "preact", {"into_norm": True}, True),
    ],
)
def test_bias_is_left_out_only_right_before_a_norm_that_removes_it(norm, placement, options, has_bias):
    unit = units(norm(), placement=placement).conv("u", IMAGE, 4, 3, **options)
    assert (unit.linear.bias is not None) == has_bias


@pytest.mark.parametrize(
    ("image", "placement", "options", "has_bias"),
    [
        ((3, 8, 8), "pre", {}, False),
        ((3, 3, 3), "pre", {}, True),
        ((3, 4, 4), "pre", {"early_pool": "max"}, True),
        ((3, 4, 4), "pre", {"pool": "max"}, False),
        ((3, 3, 3), "preact", {"into_norm": True}, True),
        ((3, 4, 4), "preact", {"into_norm": True}, False),
    ],
)
def test_bias_stays_where_a_norm_that_needs_extent_has_a_stand_in(image, placement, options, has_bias):
    unit = units(norms.instance(), placement=placement).conv("u", image, 4, 3, **options)
    assert (unit.linear.bias is not None) == has_bias


def test_a_dense_unit_keeps_its_bias_before_a_stand_in():
    assert units(norms.instance()).dense("u", (5,), 4).linear.bias is not None


def test_identity_activation_stands_for_none_so_that_post_drops_the_bias_too():
    unit = units(placement="post", activation="identity").dense("u", (5,), 4)
    assert [name for name, _ in unit.named_children()] == ["linear", "norm"]
    assert unit.linear.bias is None


def test_head_units_follow_the_head_norm_in_their_bias():
    make = units(norms.batch(), norms.none())
    assert make.dense("u", (5,), 4, head=True).linear.bias is not None
    assert make.dense("u", (5,), 4).linear.bias is None


@pytest.mark.parametrize("placement", ["pre", "post", "preact"])
@pytest.mark.parametrize("sides", [(9, 7), (8, 8), (7, 12)])
def test_norms_are_built_for_the_size_at_their_place(placement, sides):
    choices = itertools.product((None, "max"), (None, "avg"), (1, 2))
    for early_pool, pool, stride in choices:
        unit = units(norms.place_check(), placement=placement).conv(
            "u", (3, *sides), 4, 3, stride=stride, padding=1, early_pool=early_pool, pool=pool
        )
        assert unit(torch.randn(2, 3, *sides)).shape[1:] == unit.shape


@pytest.mark.parametrize("placement", ["pre", "post", "preact"])
def test_dense_units_flatten_and_give_norms_no_spatial_size(placement):
    norm = norms.place_check()
    unit = units(norm, placement=placement).dense("u", IMAGE, 7)
    assert unit(torch.randn(2, *IMAGE)).shape == (2, 7)
    assert norm.calls == [(192 if placement == "preact" else 7, ())]


def test_global_average_is_the_mean_of_every_channel():
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert GlobalAverage()(x).tolist() == [[5.5, 17.5]]


def test_no_activation_overwrites_its_input():
    x = torch.randn(4, 3)
    for name in ACTIVATIONS.values():
        kept = x.clone()
        getattr(nn, name)()(x)
        assert torch.equal(x, kept)


def test_a_refusing_norm_is_named():
    with pytest.raises(ConfigError) as caught:
        units(norms.refuses_config()).conv("stage1.0.conv1", IMAGE, 4, 3)
    assert caught.value.problems == [
        "stage1.0.conv1.norm: groups must divide 4 features",
        "stage1.0.conv1.norm: eps must be positive",
    ]
    with pytest.raises(ShapeError, match=r"^dense1\.norm: no room in \(\)$"):
        units(norms.refuses_shape()).dense("dense1", (4,), 4)


def test_unknown_activation_suggests_the_nearest():
    with pytest.raises(
        ConfigError, match=r"^activation must be one of relu, .*'rleu' \(did you mean relu\?\)$"
    ):
        units(activation="rleu")


def test_unknown_placement_is_refused():
    with pytest.raises(ConfigError, match=r"^placement must be one of pre, post, preact, got 'before'"):
        units(placement="before")


def test_a_window_larger_than_its_input_is_refused():
    with pytest.raises(ConfigError, match=r"^conv9: a window of 5x5 does not fit into 4x9"):
        units().conv("conv9", (3, 4, 9), 4, 5)
    with pytest.raises(ConfigError, match=r"^conv9: a window of 2x2 does not fit into 1x8"):
        units().conv("conv9", (3, 1, 8), 4, 1, pool="max")

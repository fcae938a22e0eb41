"""The layer norms that one name hides, RMS and instance norm: values, identities, what they refuse."""

from __future__ import annotations

from functools import partial

import example_norm_oracles as oracle
import pytest
import torch
from example_norm_oracles import draw, stir
from oracles import assert_close, to_array
from torch import nn

from bnexp.errors import ConfigError, ShapeError
from bnexp.norms.contract.traits import bind
from bnexp.norms.custom import CustomNorm
from bnexp.norms.group import group_norm
from bnexp.norms.instance import InstanceNorm, instance_norm
from bnexp.norms.layer import LayerNormPixel, layer_group_norm, layer_norm
from bnexp.norms.rms import RMSNorm

EPS = 0.5  # of the size of the variance, so that its place in the formula shows
ALL = {
    "layer": layer_norm,
    "layer_group": layer_group_norm,
    "layer_pixel": LayerNormPixel,
    "instance": instance_norm,
    "rms": RMSNorm,
}
SHAPES = [(3, 6), (2, 6, 5), (2, 6, 3, 4), (1, 4, 2, 2, 3)]
WITH_EXTENT = SHAPES[1:]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_takes_all_of_an_example_with_a_weight_per_element(shape: tuple[int, ...]) -> None:
    norm, x = stir(layer_norm(shape[1], shape[2:], eps=EPS)), draw(shape)
    assert norm.weight.shape == shape[1:]
    wanted = oracle.layer(to_array(x), to_array(norm.weight), to_array(norm.bias), EPS)
    assert_close(norm(x), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_group_takes_all_of_an_example_with_a_weight_per_channel(shape: tuple[int, ...]) -> None:
    norm, x = stir(layer_group_norm(shape[1], shape[2:], eps=EPS)), draw(shape)
    assert norm.weight.shape == shape[1:2]
    spread = [to_array(v.view(-1, *(1 for _ in shape[2:]))) for v in (norm.weight, norm.bias)]
    assert_close(norm(x), oracle.layer(to_array(x), *spread, EPS), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_pixel_takes_the_channels_of_each_position(shape: tuple[int, ...]) -> None:
    norm, x = stir(LayerNormPixel(shape[1], shape[2:], eps=EPS)), draw(shape)
    wanted = oracle.layer_pixel(to_array(x), to_array(norm.weight), to_array(norm.bias), EPS)
    assert_close(norm(x), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rms_leaves_the_mean_alone(shape: tuple[int, ...]) -> None:
    norm, x = stir(RMSNorm(shape[1], shape[2:], eps=EPS)), draw(shape)
    assert_close(norm(x), oracle.rms(to_array(x), to_array(norm.weight), EPS), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", WITH_EXTENT, ids=str)
def test_instance_takes_the_positions_of_each_channel(shape: tuple[int, ...]) -> None:
    norm, x = stir(instance_norm(shape[1], shape[2:], eps=EPS)), draw(shape)
    wanted = oracle.instance(to_array(x), to_array(norm.weight), to_array(norm.bias), EPS)
    assert_close(norm(x), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_instance_equals_torchs_layer(axes: int) -> None:
    kinds = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
    shape = (2, 4, 5, 3, 2)[: axes + 2]
    ours, theirs = stir(instance_norm(4, shape[2:])), stir(kinds[axes - 1](4, affine=True))
    assert_close(ours(draw(shape)), theirs(draw(shape)), rtol=0, atol=0)
    theirs.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("shape", WITH_EXTENT, ids=str)
def test_a_group_per_channel_is_instance_norm(shape: tuple[int, ...]) -> None:
    make = {"eps": EPS}
    one = stir(instance_norm(shape[1], shape[2:], **make))
    other = stir(group_norm(shape[1], shape[2:], num_groups=shape[1], **make))
    assert_close(one(draw(shape)), other(draw(shape)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", WITH_EXTENT, ids=str)
def test_batch_norm_of_one_example_is_instance_norm(shape: tuple[int, ...]) -> None:
    one = stir(instance_norm(shape[1], shape[2:]))
    other = CustomNorm(shape[1], shape[2:]).double()
    other.load_state_dict(one.state_dict(), strict=False)
    x = draw((1, *shape[1:]))
    assert_close(one(x), other(x), rtol=1e-12, atol=1e-12)


def test_layer_and_layer_group_differ_in_their_weights_alone() -> None:
    x = draw((2, 6, 3, 4))
    per_element, per_channel = layer_norm(6, (3, 4)).double(), layer_group_norm(6, (3, 4)).double()
    assert_close(per_element(x), per_channel(x), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        per_element.weight.fill_(1.5)
        per_channel.weight.fill_(1.5)
    assert_close(per_element(x), per_channel(x), rtol=1e-12, atol=1e-12)


def test_the_three_layer_norms_agree_where_there_is_one_position() -> None:
    x = draw((3, 8))
    outputs = [ALL[name](8, ()).double()(x) for name in ("layer", "layer_group", "layer_pixel")]
    for output in outputs[1:]:
        assert_close(output, outputs[0], rtol=1e-12, atol=1e-12)


def test_rms_of_centred_channels_is_layer_pixel() -> None:
    x = draw((2, 6, 3, 4))
    centred = x - x.mean(1, keepdim=True)
    rms, pixel = RMSNorm(6, (3, 4)).double(), LayerNormPixel(6, (3, 4)).double()
    assert_close(rms(centred), pixel(x), rtol=1e-12, atol=1e-12)


def test_layer_pixel_and_rms_keep_positions_apart() -> None:
    x = draw((2, 6, 3, 4))
    other = x.clone()
    other[..., 1:] += 5
    for make in (LayerNormPixel, RMSNorm):
        norm = make(6, (3, 4)).double()
        assert_close(norm(other)[..., 0], norm(x)[..., 0], rtol=0, atol=0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(2, 3, 2, 1), (2, 4)], ids=str)
def test_second_derivatives_agree_with_finite_differences(name: str, shape: tuple[int, ...]) -> None:
    norm = stir(ALL[name](shape[1], shape[2:]))
    assert torch.autograd.gradgradcheck(norm, (draw(shape).requires_grad_(),))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("parameters", ["float32", "cast"])
def test_low_precision_rounds_the_result_once(name: str, dtype: torch.dtype, parameters: str) -> None:
    norm = ALL[name](16, (6, 6))
    x = (draw((2, 16, 6, 6)) * 3 + 20).to(dtype)
    wanted = norm.double()(x.double())
    norm = norm.float() if parameters == "float32" else norm.to(dtype)
    y = norm(x)
    assert y.dtype is dtype
    # half an ulp, and an atol for float32's own rounding of a mean ten times the deviation
    assert_close(y, wanted, rtol=torch.finfo(dtype).eps, atol=2e-4 if dtype is torch.float16 else 1e-3)


@pytest.mark.parametrize("name", ALL)
def test_large_mean_keeps_its_digits(name: str) -> None:
    norm = ALL[name](16, (6, 6))
    x = draw((2, 16, 6, 6), dtype=torch.float32) + 1e3
    wanted = norm.double()(x.double())
    # rounding of the mean: 2^-24 * 1e3, over a deviation of 1
    assert_close(norm.float()(x), wanted, rtol=1e-5, atol=3e-4)


@pytest.mark.parametrize("name", ALL)
def test_channels_last_gives_the_same(name: str) -> None:
    norm, x = stir(ALL[name](6, (3, 4))), draw((2, 6, 3, 4))
    last = x.to(memory_format=torch.channels_last)
    assert_close(norm(last), norm(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_without_affine_there_is_nothing_to_learn(name: str) -> None:
    for spatial in [(), (3, 4)]:
        assert list(ALL[name](6, spatial, affine=False).parameters()) == []


def test_rms_has_no_bias() -> None:
    assert [name for name, _ in RMSNorm(6, ()).named_parameters()] == ["weight"]


@pytest.mark.parametrize("name", ALL)
def test_a_single_value_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="must hold at least 2 values"):
        ALL[name](1, ())


@pytest.mark.parametrize("name", ["layer_pixel", "rms"])
def test_a_single_channel_is_refused_whatever_the_extent(name: str) -> None:
    with pytest.raises(ConfigError, match="each position must hold at least 2 values to normalize, got 1"):
        ALL[name](1, (4, 4))


@pytest.mark.parametrize("name", ALL)
def test_eps_must_be_positive(name: str) -> None:
    for spatial in [(), (4, 4)]:
        with pytest.raises(ConfigError, match="eps must be above 0 and finite, got 0"):
            ALL[name](6, spatial, eps=0.0)


@pytest.mark.parametrize("spatial", [(), (1, 1), (1,)], ids=str)
def test_instance_puts_a_layer_norm_where_a_channel_is_one_value(spatial: tuple[int, ...]) -> None:
    norm, x = stir(instance_norm(6, spatial, eps=EPS)), draw((3, 6, *spatial))
    wanted = oracle.layer(to_array(x), to_array(norm.weight), to_array(norm.bias), EPS)
    assert_close(norm(x), wanted, rtol=1e-12, atol=1e-12)
    assert "layer normalization over the channels stands in" in norm.substitute_note
    assert bind(partial(instance_norm)).needs_extent


@pytest.mark.parametrize(
    "shape", [(6, 3, 4), (6, 12), (2, 5, 3, 4), (2, 6, 12), (2, 6, 1, 1), (2, 6, 2, 3, 4)], ids=str
)
def test_instance_refuses_what_torch_would_take_for_one_example(shape: tuple[int, ...]) -> None:
    norm = InstanceNorm(6, 2, eps=1e-5, affine=True)
    with pytest.raises(ShapeError, match=r"needs input of shape \(N, 6, \*\) with \* of 2 axes"):
        norm(torch.zeros(shape))


def test_instance_of_one_axis_never_normalizes_across_features() -> None:
    with pytest.raises(ShapeError, match="of 1 axes"):
        instance_norm(6, (5,))(torch.zeros(6, 5))

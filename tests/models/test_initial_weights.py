"""Initial weights: their laws, and that they depend on seed and name alone."""

import math
from functools import partial

import norm_stand_ins as norms
import pytest
import torch
from norm_stand_ins import units
from torch import nn

from bnexp.errors import ConfigError
from bnexp.models import init
from bnexp.models.classifier import ImageClassifier
from bnexp.models.lenet import LeNet
from bnexp.models.mlp import MLP
from bnexp.models.resnet import ResNet
from bnexp.models.simple_cnn import SimpleCNN
from bnexp.seeding import stream

SCHEMES = [
    init.default,
    init.normal,
    init.zeros,
    init.xavier_normal,
    init.xavier_uniform,
    init.he_normal,
    init.he_uniform,
]
DRAWING = [scheme for scheme in SCHEMES if scheme is not init.zeros]
NETWORKS = [
    LeNet,
    SimpleCNN,
    partial(ImageClassifier, widths=[4, 8]),
    partial(ResNet, depth=8, width=4),
    MLP,
]


def build(network, norm, scheme, seed=0, placement="pre"):
    model = network(image_shape=(1, 16, 16), num_classes=10, units=units(norm, placement=placement))
    init.initialize(model, scheme, seed)
    return model


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("placement", ["pre", "post"])
def test_networks_with_and_without_norms_begin_bitwise_alike(network, scheme, placement):
    torch.manual_seed(1)
    plain = dict(build(network, norms.none(), scheme, placement=placement).named_parameters())
    for norm in (norms.batch(), norms.layer()):
        normed = dict(build(network, norm, scheme, placement=placement).named_parameters())
        shared = [name for name in normed if name in plain]
        assert "classifier.weight" in shared
        assert [name for name in normed if "norm" in name.split(".")] == [
            name for name in normed if name not in shared
        ]
        for name in shared:
            assert torch.equal(plain[name], normed[name]), name


@pytest.mark.parametrize("scheme", DRAWING)
def test_seeds_and_names_differ(scheme):
    one, two = build(MLP, norms.none(), scheme, seed=0), build(MLP, norms.none(), scheme, seed=1)
    assert not torch.equal(one.dense1.linear.weight, two.dense1.linear.weight)
    assert not torch.equal(one.dense2.linear.weight, one.dense3.linear.weight)


def test_weight_and_bias_of_a_layer_are_drawn_apart():
    layer = nn.Linear(50, 40)
    init.initialize(layer, init.default, 0)
    assert not torch.equal(layer.weight.flatten()[:40], layer.bias)


def test_a_parameter_is_the_head_of_the_stream_of_its_qualified_name():
    model = nn.ModuleDict({"conv1": nn.ModuleDict({"linear": nn.Conv2d(2, 4, 3)})})
    init.initialize(model, init.default, 5)
    drawn = torch.empty(4).uniform_(-(18**-0.5), 18**-0.5, generator=stream(5, "init", "conv1.linear.bias"))
    torch.testing.assert_close(model["conv1"]["linear"].bias.detach(), drawn, rtol=0, atol=0)


def test_global_random_state_neither_matters_nor_moves():
    torch.manual_seed(0)
    model = build(MLP, norms.none(), init.default)
    weight = model.dense1.linear.weight.clone()
    before = torch.get_rng_state()
    init.initialize(model, init.default, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.dense1.linear.weight, weight)


FAN_IN, FAN_OUT = 150 * 9, 160 * 9
UNIFORM = {
    init.default: 1 / math.sqrt(FAN_IN),
    init.xavier_uniform: math.sqrt(6 / (FAN_IN + FAN_OUT)),
    init.he_uniform: math.sqrt(6 / FAN_IN),
}
NORMAL = {
    init.normal: 0.01,
    init.xavier_normal: math.sqrt(2 / (FAN_IN + FAN_OUT)),
    init.he_normal: math.sqrt(2 / FAN_IN),
}


def conv_weight(scheme):
    layer = nn.Conv2d(150, 160, 3)
    init.initialize(layer, scheme, 0)
    return layer.weight.detach().double().flatten()


@pytest.mark.parametrize("scheme", UNIFORM)
def test_uniform_schemes_fill_their_interval(scheme):
    weight, bound = conv_weight(scheme), UNIFORM[scheme]
    n = len(weight)
    assert bound * (1 - 20 / n) < weight.abs().max() <= bound * (1 + 1e-6)  # float32 rounds the bound
    assert abs(weight.mean()) < 4 * bound / math.sqrt(3 * n)
    # The square of a uniform value has mean b²/3 and variance 4 b⁴/45.
    assert abs((weight**2).mean() - bound**2 / 3) < 4 * bound**2 * math.sqrt(4 / 45 / n)


@pytest.mark.parametrize("scheme", NORMAL)
def test_normal_schemes_have_their_standard_deviation(scheme):
    weight, std = conv_weight(scheme), NORMAL[scheme]
    n = len(weight)
    assert abs(weight.mean()) < 4 * std / math.sqrt(n)
    assert abs((weight**2).mean() - std**2) < 4 * std**2 * math.sqrt(2 / n)
    beyond = math.erfc(2 / math.sqrt(2))
    found = (weight.abs() > 2 * std).double().mean()
    assert abs(found - beyond) < 4 * math.sqrt(beyond * (1 - beyond) / n)


@pytest.mark.parametrize("layer", [nn.Linear(50, 40), nn.Conv2d(7, 5, 3), nn.Conv2d(3, 5, (1, 4))])
def test_default_has_the_bounds_of_torchs_own_layers(layer):
    fan_in, _ = nn.init._calculate_fan_in_and_fan_out(layer.weight)
    init.initialize(layer, init.default, 0)
    bound = fan_in**-0.5
    for parameter in (layer.weight, layer.bias):
        assert parameter.abs().max() <= bound * (1 + 1e-6)  # float32 rounds the bound
    assert layer.weight.abs().max() > 0.9 * bound
    assert layer.bias.abs().max() > 0.3 * bound


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme is not init.default])
def test_other_schemes_start_biases_at_zero(scheme):
    model = build(LeNet, norms.none(), scheme)
    biases = [parameter for name, parameter in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 5
    assert not any(bias.any() for bias in biases)


def test_normal_takes_its_standard_deviation():
    one, two = nn.Linear(30, 20), nn.Linear(30, 20)
    init.initialize(one, partial(init.normal, std=0.5), 0)
    init.initialize(two, partial(init.normal, std=1.0), 0)
    torch.testing.assert_close(one.weight * 2, two.weight, rtol=1e-6, atol=0)


@pytest.mark.parametrize("std", [-0.1, math.inf, math.nan, "wide", None])
def test_impossible_standard_deviations_are_refused(std):
    with pytest.raises(ConfigError, match=r"^init\.std must be (at least 0|finite.*), got "):
        init.initialize(nn.Linear(2, 2), partial(init.normal, std=std), 0)


def test_norms_stay_as_they_were_made_whatever_they_hold():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.full((3,), 7.0))
            self.gate = nn.Linear(3, 3)

    norm = Learned()
    kept = {name: value.clone() for name, value in norm.state_dict().items()}
    init.initialize(nn.ModuleDict({"linear": nn.Linear(3, 3), "norm": norm}), init.zeros, 0)
    assert all(torch.equal(value, kept[name]) for name, value in norm.state_dict().items())


def test_parameters_keep_their_storage_and_type():
    layer = nn.Linear(4, 3).double()
    weight, address = layer.weight, layer.weight.data_ptr()
    init.initialize(layer, init.he_normal, 0)
    assert layer.weight is weight
    assert (weight.data_ptr(), weight.dtype, weight.requires_grad) == (address, torch.float64, True)
    single = nn.Linear(4, 3)
    init.initialize(single, init.he_normal, 0)
    assert torch.equal(single.weight.double(), weight)

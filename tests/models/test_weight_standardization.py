"""Weight standardization: its formula, where it is applied, and that names and first weights stay."""

from functools import partial

import norm_stand_ins as norms
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnexp.errors import ConfigError
from bnexp.models import init
from bnexp.models.blocks import Units
from bnexp.models.lenet import LeNet
from bnexp.models.mlp import MLP
from bnexp.models.resnet import ResNet
from bnexp.models.unit import unit_notes
from bnexp.models.weight_standardization import StandardizedConv2d

resnet = partial(ResNet, depth=8, width=4)


def build(network, norm, placement="pre", *, standardized=True, image_shape=(2, 16, 16)):
    units = Units(norm, norm, placement, "relu", weight_standardization=standardized)
    model = network(image_shape=image_shape, num_classes=10, units=units)
    init.initialize(model, init.he_normal, 0)
    return model


def standardized_by_loops(weight):
    """Return the kernels one by one, in float64: biased variance, 1e-6 inside the root."""
    kernels = []
    for kernel in weight.double():
        values = kernel.flatten().tolist()
        mean = sum(values) / len(values)
        var = sum((value - mean) ** 2 for value in values) / len(values)
        kernels.append([(value - mean) / (var + 1e-6) ** 0.5 for value in values])
    return torch.tensor(kernels, dtype=torch.float64).reshape(weight.shape)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("std", [1.0, 1e-3])
def test_the_convolution_is_by_the_standardized_kernel(groups, std):
    torch.manual_seed(0)
    conv = StandardizedConv2d(4, 6, 3, stride=2, padding=1, groups=groups).double()
    nn.init.normal_(conv.weight, mean=0.3, std=std)
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    kernel = standardized_by_loops(conv.weight.detach())
    expected = F.conv2d(x, kernel, conv.bias, stride=2, padding=1, groups=groups)
    torch.testing.assert_close(conv(x), expected, rtol=1e-11, atol=1e-11)


def test_gradients_go_through_mean_and_variance():
    conv = StandardizedConv2d(2, 3, 3).double()
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64)

    def output(weight):
        return torch.func.functional_call(conv, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(output, conv.weight.detach().clone().requires_grad_())


def test_timms_form_is_the_same():
    std_conv = pytest.importorskip("timm.layers").StdConv2d
    theirs = std_conv(4, 6, 3, padding=1, bias=True).double()
    ours = StandardizedConv2d(4, 6, 3, padding=1).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("placement", ["pre", "post", "preact"])
def test_every_convolution_is_standardized_and_no_dense_layer(placement):
    model = build(resnet, norms.group(), placement)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 1 + 6 + 2
    assert all(isinstance(module, StandardizedConv2d) for module in convolutions)
    assert type(model.classifier) is nn.Linear
    lenet = build(LeNet, norms.group())
    assert type(lenet.conv1.linear) is StandardizedConv2d
    assert type(lenet.dense1.linear) is nn.Linear


@pytest.mark.parametrize("norm", [norms.none, norms.batch])
def test_names_and_first_values_are_those_of_the_plain_network(norm):
    with_it, without = (build(resnet, norm(), standardized=on).state_dict() for on in (True, False))
    assert list(with_it) == list(without)
    assert all(torch.equal(with_it[name], without[name]) for name in without)


def test_a_channel_of_a_single_weight_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"^stage1\.0\.shortcut\.linear: weight_standardization needs at l"):
        units = Units(norms.none(), norms.none(), "preact", "relu", weight_standardization=True)
        units.bare_conv("stage1.0.shortcut", (1, 8, 8), 4, 1)


def test_only_a_network_without_convolutions_gets_a_note():
    notes = partial(unit_notes, weight_standardization=True, fused=False, compiled=False)
    assert notes(build(LeNet, norms.none())) == []
    assert notes(build(MLP, norms.none())) == [
        "weight_standardization has no effect: this network has no convolution"
    ]

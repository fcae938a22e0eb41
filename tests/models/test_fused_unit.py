"""The fused unit: all that the plain one computes, with less kept for the backward pass."""

import copy
from functools import partial

import norm_stand_ins as norms
import pytest
import torch
import torch.nn.functional as F
from alive import Alive
from torch import nn

from bnexp.models.blocks import Units
from bnexp.models.lenet import LeNet
from bnexp.models.mlp import MLP
from bnexp.models.resnet import ResNet
from bnexp.models.simple_cnn import SimpleCNN
from bnexp.models.unit import FusedUnit, Unit, unit_notes
from bnexp.norms.custom import CustomNorm
from bnexp.norms.modifiers.fold import fold

IMAGE = (3, 9, 8)


class Chunked(nn.Module):
    """Normalizes each half of the batch by itself, as views of its input."""

    def __init__(self, num_features):
        super().__init__()
        self.norm = nn.BatchNorm2d(num_features)

    def forward(self, x):
        return torch.cat([self.norm(half) for half in x.chunk(2)])


NORMS = {
    "custom": norms.StandIn(CustomNorm, removes_channel_mean=True),
    "batch": norms.batch(),
    "group": norms.group(),
    "layer": norms.layer(),
    "swish": norms.swish(),
    "chunked": norms.StandIn(lambda num_features, spatial: Chunked(num_features)),
}
SHAPES = [
    {},
    {"stride": 2, "padding": 1},
    {"early_pool": "max"},
    {"early_pool": "avg", "padding": 2},
    {"pool": "max", "dropout": 0.5},
    {"activate": False},
]


def pair(norm, **options):
    """Return a plain unit and a fused one with equal weights."""
    standardized = options.pop("weight_standardization", False)
    torch.manual_seed(0)
    plain, fused = (
        Units(norm, norm, "pre", "sigmoid", weight_standardization=standardized, fused=fused).conv(
            "u", IMAGE, 4, 3, **options
        )
        for fused in (False, True)
    )
    assert (type(plain), type(fused)) == (Unit, FusedUnit)
    for parameter in plain.parameters():
        nn.init.normal_(parameter)
    fused.load_state_dict(plain.state_dict())
    return plain, fused


def everything(unit, x, seed=1):
    """Return output, gradients of input and parameters, and buffers, of one training pass."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    torch.manual_seed(seed)
    y = unit(x)
    probe = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    (y * probe).sum().backward()
    found = {"y": y.detach(), "x": x.grad}
    found |= {name: parameter.grad for name, parameter in unit.named_parameters()}
    return found | {name: buffer.clone() for name, buffer in unit.named_buffers()}


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for name in expected:
        assert torch.equal(actual[name], expected[name]), name


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("options", SHAPES, ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_pass_is_bitwise_that_of_the_plain_unit(norm, options, memory_format):
    plain, fused = pair(NORMS[norm], **options)
    x = torch.randn(6, *IMAGE).contiguous(memory_format=memory_format)
    assert_equal(everything(fused, x), everything(plain, x))


@pytest.mark.parametrize("standardized", [False, True])
def test_bfloat16_and_standardized_kernels_are_computed_again_as_they_were(standardized):
    plain, fused = pair(NORMS["custom"], weight_standardization=standardized)
    x = torch.randn(6, *IMAGE)
    assert_equal(everything(fused, x), everything(plain, x))
    with torch.autocast("cpu", torch.bfloat16):
        assert_equal(everything(fused, x), everything(plain, x))


@pytest.mark.parametrize(("groups", "stride", "padding"), [(1, 1, 0), (3, 2, 1), (1, (2, 1), (0, 2))])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make_norm", [lambda c: CustomNorm(c, ()), nn.BatchNorm2d])
def test_a_pass_is_a_convolution_and_a_batch_norm(groups, stride, padding, bias, make_norm):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 6, 3, stride=stride, padding=padding, groups=groups, bias=bias)
    unit = FusedUnit({"linear": conv, "norm": make_norm(6)}, (6,)).double()
    nn.init.normal_(unit.norm.weight)
    leaves = [conv.weight, unit.norm.weight, unit.norm.bias, *([conv.bias] if bias else [])]
    x = torch.randn(4, *IMAGE, dtype=torch.float64, requires_grad=True)
    running_mean, running_var = torch.zeros(6).double(), torch.ones(6).double()
    y = F.conv2d(x, conv.weight, conv.bias, stride, padding, 1, groups)
    expected = F.batch_norm(y, running_mean, running_var, unit.norm.weight, unit.norm.bias, training=True)
    probe = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * probe).sum(), [x, *leaves])
    actual = unit(x)
    found = torch.autograd.grad((actual * probe).sum(), [x, *leaves])
    close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-10)
    close(actual, expected)
    close(found, wanted)
    close(unit.norm.running_mean, running_mean)
    close(unit.norm.running_var, running_var)
    assert unit.norm.num_batches_tracked == 1


def test_first_and_second_derivatives_are_those_of_finite_differences():
    _, fused = pair(NORMS["custom"], stride=2)
    fused = fused.double()

    def output(x, weight, scale):
        return torch.func.functional_call(fused, {"linear.weight": weight, "norm.weight": scale}, (x,))

    values = torch.randn(2, 3, 5, 5), fused.linear.weight, fused.norm.weight
    inputs = [value.detach().double().requires_grad_() for value in values]
    assert torch.autograd.gradcheck(output, inputs)
    assert torch.autograd.gradgradcheck(output, inputs)


def test_torch_func_gets_the_same_gradient():
    plain, fused = pair(NORMS["group"])
    x = torch.randn(4, *IMAGE)
    weights = {"linear.weight": torch.randn_like(plain.linear.weight)}
    wanted, found = (
        torch.func.grad(lambda w, unit=unit: torch.func.functional_call(unit, w, (x,)).sum())(weights)
        for unit in (plain, fused)
    )
    assert_equal(found, wanted)


def kept(unit, x):
    with Alive() as alive:
        y = unit(x)
    assert y.requires_grad
    return alive.bytes()


@pytest.mark.parametrize("norm", ["custom", "batch", "group", "layer", "chunked"])
@pytest.mark.parametrize("early_pool", [None, "max", "avg"])
def test_the_graph_keeps_no_output_of_the_convolution(norm, early_pool):
    plain, fused = pair(NORMS[norm], early_pool=early_pool)
    x = torch.randn(6, *IMAGE, requires_grad=True)
    of_convolution = 6 * 4 * 7 * 6 * 4
    assert kept(plain, x) - kept(fused, x) == of_convolution


def test_a_constant_channel_has_finite_gradients():
    plain, fused = pair(NORMS["custom"])
    with torch.no_grad():
        fused.linear.weight[1] = plain.linear.weight[1] = 0
    x = torch.randn(4, *IMAGE)
    found = everything(fused, x)
    assert all(value.isfinite().all() for value in found.values())
    assert_equal(found, everything(plain, x))


def test_evaluation_and_an_empty_batch_are_the_plain_units():
    plain, fused = pair(NORMS["custom"])
    x = torch.randn(6, *IMAGE)
    assert_equal(everything(fused, x[:0]), everything(plain, x[:0]))
    assert_equal(everything(fused.eval(), x), everything(plain.eval(), x))


def test_whoever_watches_the_parts_sees_each_once():
    plain, fused = pair(NORMS["custom"], early_pool="max")
    for unit in (plain, fused):
        unit.seen = []
        for name, part in unit.named_children():
            part.register_forward_hook(
                lambda _, x, y, name=name, unit=unit: unit.seen.append((name, x[0].detach(), y.detach()))
            )
        everything(unit, torch.ones(6, *IMAGE).cumsum(-1))
    assert [name for name, *_ in fused.seen] == ["linear", "early_pool", "norm", "activation"]
    for mine, its in zip(fused.seen, plain.seen, strict=True):
        assert mine[0] == its[0]
        assert torch.equal(mine[1], its[1]) and torch.equal(mine[2], its[2])


def test_the_norm_folds_into_the_convolution_as_that_of_the_plain_unit():
    folded = [fold(nn.Sequential(unit)) for unit in pair(NORMS["custom"], pool="max")]
    assert [names for _, names in folded] == [["0.norm"], ["0.norm"]]
    x = torch.randn(6, *IMAGE)
    plain, fused = (model(x) for model, _ in folded)
    assert torch.equal(fused, plain)


def build(network, norm, placement, *, fused=True):
    units = Units(norm, norm, placement, "relu", fused=fused)
    return network(image_shape=(1, 16, 16), num_classes=10, units=units)


def fused_units(model):
    return [name for name, module in model.named_modules() if isinstance(module, FusedUnit)]


resnet = partial(ResNet, depth=8, width=4)


@pytest.mark.parametrize(
    ("network", "norm", "placement", "names"),
    [
        (LeNet, norms.batch(), "pre", ["conv1", "conv2"]),
        (SimpleCNN, norms.group(), "pre", ["conv1", "conv2"]),
        (resnet, norms.batch(), "post", ["stage2.0.shortcut", "stage3.0.shortcut"]),
        (resnet, norms.batch(), "preact", []),
        (LeNet, norms.none(), "pre", []),
        (LeNet, norms.batch(), "post", []),
        (MLP, norms.batch(), "pre", []),
    ],
)
def test_convolutions_are_fused_with_norms_that_take_their_output(network, norm, placement, names):
    fused = build(network, norm, placement)
    assert fused_units(fused) == names
    plain = build(network, norm, placement, fused=False)
    assert list(fused.state_dict()) == list(plain.state_dict())


def test_a_copy_computes_by_its_own_weights():
    _, fused = pair(NORMS["custom"])
    x = torch.randn(6, *IMAGE)
    twin = copy.deepcopy(fused)
    expected = everything(copy.deepcopy(twin), x)
    for parameter in fused.parameters():
        parameter.data.zero_()
    assert_equal(everything(twin, x), expected)


def test_notes_name_what_is_not_fused():
    notes = partial(unit_notes, weight_standardization=False, fused=True)
    assert notes(build(resnet, norms.batch(), "pre"), compiled=False) == []
    assert notes(build(resnet, norms.batch(), "post"), compiled=False) == [
        "fused leaves out stem, stage1.0.conv1, stage1.0.conv2, stage2.0.conv1, stage2.0.conv2 and 2 more: "
        "no norm follows the convolution before its activation"
    ]
    assert notes(build(resnet, norms.none(), "pre"), compiled=False) == [
        "fused has no effect: it needs placement=pre, a norm, and a network with convolutions"
    ]
    assert notes(build(resnet, norms.batch(), "pre"), compiled=True) == [
        "fused has no effect: with compile=true the compiler decides what is computed again"
    ]

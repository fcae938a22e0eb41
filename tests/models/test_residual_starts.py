"""Residual networks without norms: how they start, and that depth does not blow them up."""

import math
from functools import partial

import norm_stand_ins as norms
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnexp.errors import ConfigError
from bnexp.models import init
from bnexp.models.blocks import Units
from bnexp.models.resnet import BasicBlock, ResNet

STARTS = ("skipinit", "fixup")
CASES = [
    ("skipinit", "pre"),
    ("skipinit", "post"),
    ("skipinit", "preact"),
    ("fixup", "pre"),
    ("fixup", "preact"),
]
PLACEMENTS = ("pre", "preact")


def build(residual, placement="pre", depth=8, scheme=init.he_normal, activation="relu", **options):
    units = Units(options.pop("norm", norms.none()), norms.none(), placement, activation, **options)
    model = ResNet(
        image_shape=(3, 16, 16), num_classes=10, units=units, depth=depth, width=8, residual=residual
    )
    init.initialize(model, scheme, 0)
    return model


def images(count=8):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def blocks(model):
    return [module for module in model.modules() if isinstance(module, BasicBlock)]


@pytest.mark.parametrize(("residual", "placement"), CASES)
def test_every_block_starts_as_its_shortcut(residual, placement):
    model = build(residual, placement)
    x = model.stem(images()).detach()
    for block in blocks(model):
        expected = block.shortcut(x)
        expected = expected.relu() if placement == "pre" else expected
        assert torch.equal(block(x), expected)
        x = block(x).detach()


def growth(model):
    """Return the second moment of the last block's output, in that of the stem's."""
    seen = {}
    for name, module in (("stem", model.stem), ("end", blocks(model)[-1])):
        module.register_forward_hook(lambda _, x, y, name=name: seen.update({name: y.square().mean().item()}))
    with torch.no_grad():
        model(images())
    return seen["end"] / seen["stem"]


@pytest.mark.parametrize("placement", ["pre", "post", "preact"])
def test_a_deep_stream_grows_without_a_start_and_stays_with_one(placement):
    # Each of the 27 blocks adds a branch as large as the stream; the sum's ReLU of pre takes a part back.
    assert growth(build("plain", placement, depth=56)) > 1e4
    for residual in (residual for residual, its in CASES if its == placement):
        # A convolution of the shortcut, twice, may double it.
        assert 0.1 < growth(build(residual, placement, depth=56)) < 10


def losses(model, lr, steps=4):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    x, targets = images(), torch.arange(8)
    found = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def test_a_deep_network_takes_steps_with_a_start_that_ruin_the_plain_one():
    plain = losses(build("plain", depth=56), 0.05)
    assert not math.isfinite(plain[-1]) or plain[-1] > 10
    for residual in STARTS:
        found = losses(build(residual, depth=56), 0.05)
        assert found[-1] < found[0]
        assert max(found) < 10


@pytest.mark.parametrize("placement", ["pre", "post", "preact"])
@pytest.mark.parametrize("scheme", [init.default, init.he_normal])
def test_skipinit_adds_one_scalar_a_block_and_changes_no_other_start(placement, scheme):
    plain, started = (
        dict(build(r, placement, scheme=scheme).named_parameters()) for r in ("plain", "skipinit")
    )
    added = started.keys() - plain.keys()
    assert plain.keys() <= started.keys()
    assert added == {f"stage{stage}.0.end.weight" for stage in (1, 2, 3)}
    assert all(torch.equal(started[name], plain[name]) for name in plain)
    assert all(torch.equal(started[name], torch.zeros(1)) for name in added)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("scheme", [init.default, init.he_normal])
@pytest.mark.parametrize(("depth", "count"), [(8, 3), (18, 8), (20, 9)])
def test_fixup_scales_first_weights_by_the_depth_and_starts_last_ones_at_zero(
    placement, scheme, depth, count
):
    plain, started = (
        dict(build(r, placement, depth=depth, scheme=scheme).named_parameters()) for r in ("plain", "fixup")
    )
    shared = started.keys() & plain.keys()
    for name in shared:
        if ".conv1.linear." in name:
            torch.testing.assert_close(started[name], plain[name] / math.sqrt(count), rtol=1e-6, atol=0)
        elif ".conv2.linear." in name or name.startswith("classifier."):
            assert not started[name].any(), name
        else:
            assert torch.equal(started[name], plain[name]), name
    lost = plain.keys() - started.keys()
    assert lost == {name for name in plain if name.endswith("linear.bias") and "shortcut" not in name}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_fixup_adds_a_scalar_scale_and_scalar_biases(placement):
    plain, started = (dict(build(r, placement).named_parameters()) for r in ("plain", "fixup"))
    added = {name: started[name] for name in started.keys() - plain.keys()}
    assert all(value.shape == (1,) for value in added.values())
    scales = {name for name in added if name.endswith("scale.weight")}
    assert {name for name, value in added.items() if value.item() == 1} == scales
    assert {name for name, value in added.items() if value.item() == 0} == added.keys() - scales
    # a scale, and a bias before each of two convolutions and two activations
    assert len([name for name in added if name.startswith("stage1.0.")]) == 5
    # before the one activation outside of blocks, and the classifier
    assert len([name for name in added if not name.startswith("stage")]) == 2


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_a_fixup_block_computes_its_formula(activation):
    block = blocks(build("fixup", activation=activation))[1]
    torch.manual_seed(0)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    f = getattr(torch, activation)
    x = torch.randn(2, 8, 16, 16)
    conv1, conv2 = block.conv1, block.conv2
    y = F.conv2d(x + conv1.linear_shift.bias, conv1.linear.weight, stride=2, padding=1)
    y = F.conv2d(f(y + conv1.activation_shift.bias) + conv2.linear_shift.bias, conv2.linear.weight, padding=1)
    y = y * block.end.scale.weight + block.end.shift.bias
    expected = f(y + F.conv2d(x, block.shortcut.linear.weight, block.shortcut.linear.bias, stride=2))
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("residual", "placement"), CASES)
def test_every_parameter_learns_within_a_few_steps(residual, placement):
    model = build(residual, placement)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    losses(model, 0.05)
    assert [name for name, value in model.named_parameters() if torch.equal(value, before[name])] == []


@pytest.mark.parametrize("residual", STARTS)
def test_a_start_is_refused_beside_a_norm(residual):
    message = (
        rf"^model\.residual={residual} is for networks without norms, got BatchNorm2d at stem\.norm; take"
    )
    with pytest.raises(ConfigError, match=message):
        build(residual, norm=norms.batch())


def test_fixup_is_refused_where_its_zeros_or_scales_would_not_do():
    with pytest.raises(ConfigError, match=r"^model\.residual=fixup scales weights, which weight_standard"):
        build("fixup", weight_standardization=True)
    with pytest.raises(
        ConfigError, match=r"^model\.residual=fixup needs branches .*, got placement=post; take"
    ):
        build("fixup", "post")


def test_another_start_is_refused_with_the_nearest():
    with pytest.raises(
        ConfigError, match=r"^model\.residual must be one of plain, .* \(did you mean fixup\?\)$"
    ):
        build("fixupp")


def test_a_plain_network_has_the_names_that_it_always_had():
    make = partial(ResNet, image_shape=(3, 16, 16), num_classes=10, depth=8, width=8)
    units = Units(norms.none(), norms.none(), "pre", "relu")
    names = [name for name, _ in make(units=units).named_parameters()]
    assert [name for name in names if "end" in name or "shift" in name] == []

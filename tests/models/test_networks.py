"""The networks: their shapes, sizes, parameter counts, and what they compute."""

import copy
from functools import partial

import norm_stand_ins as norms
import pytest
import torch
import torch.nn.functional as F
from norm_stand_ins import units
from torch import nn

from bnexp.errors import ConfigError
from bnexp.models.blocks import Units
from bnexp.models.classifier import ImageClassifier
from bnexp.models.lenet import LeNet
from bnexp.models.mlp import MLP
from bnexp.models.resnet import BasicBlock, ResNet
from bnexp.models.simple_cnn import SimpleCNN

small_classifier = partial(ImageClassifier, widths=[4, 6, 8, 10])
small_resnet = partial(ResNet, depth=8, width=4)
small_resnet18 = partial(ResNet, depth=18, width=2)
NETWORKS = {
    "lenet": LeNet,
    "simple_cnn": SimpleCNN,
    "classifier": small_classifier,
    "resnet": small_resnet,
    "resnet18": small_resnet18,
    "mlp": MLP,
}
PLAIN = ["lenet", "simple_cnn", "classifier", "mlp"]
CASES = [(name, placement) for name in NETWORKS for placement in ("pre", "post")]
CASES += [("resnet", "preact"), ("resnet18", "preact")]


def build(network, *, image_shape=(1, 28, 28), num_classes=10, seed=0, **choices):
    torch.manual_seed(seed)
    made_of = units(**choices)
    return NETWORKS[network](image_shape=image_shape, num_classes=num_classes, units=made_of)


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("network", "placement"), CASES)
@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 32, 32), (2, 29, 23), (3, 17, 40)])
def test_logits_have_one_column_a_class_and_norms_the_right_size(network, placement, image_shape):
    model = build(
        network, image_shape=image_shape, num_classes=7, norm=norms.place_check(), placement=placement
    )
    assert model(torch.randn(2, *image_shape)).shape == (2, 7)


@pytest.mark.parametrize(("network", "placement"), CASES)
@pytest.mark.parametrize("norm", [norms.batch, norms.layer, norms.swish, norms.none])
def test_every_parameter_gets_a_finite_gradient(network, placement, norm):
    model = build(network, image_shape=(1, 16, 16), norm=norm(), placement=placement)
    F.cross_entropy(model(torch.randn(4, 1, 16, 16)), torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("network", "placement"), CASES)
def test_a_bias_that_is_left_out_would_have_done_nothing(network, placement):
    model = build(network, image_shape=(1, 16, 16), placement=placement).double()
    x = torch.randn(5, 1, 16, 16, dtype=torch.float64)
    switch_off_dropout(model)
    before = model(x)
    biasless = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and m.bias is None]
    for layer in biasless:
        layer.bias = nn.Parameter(torch.randn(layer.weight.shape[0], dtype=torch.float64))
    assert biasless or placement == "post"
    torch.testing.assert_close(model(x), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("network", "placement"), [case for case in CASES if case[1] != "preact"])
@pytest.mark.parametrize("norm", [norms.batch, norms.layer, norms.none])
def test_a_bias_that_is_kept_does_something(network, placement, norm):
    model = build(network, image_shape=(1, 16, 16), norm=norm(), placement=placement).double()
    x = torch.randn(5, 1, 16, 16, dtype=torch.float64)
    switch_off_dropout(model)
    before = model(x).detach()
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
            kept = layer.bias.detach().clone()
            layer.bias.data += torch.linspace(-1, 1, len(kept), dtype=torch.float64)
            assert (model(x) - before).abs().max() > 1e-6
            layer.bias.data = kept


def switch_off_dropout(model):
    for module in model.modules():
        if hasattr(module, "p"):
            module.p = 0.0


@pytest.mark.parametrize(("network", "placement"), CASES)
def test_networks_that_differ_in_their_norm_share_their_names(network, placement):
    with_norm = build(network, placement=placement)
    without = build(network, norm=norms.none(), placement=placement)
    names = {name for name, _ in with_norm.named_parameters() if "norm" not in name.split(".")}
    assert names <= {name for name, _ in without.named_parameters()}
    assert places(with_norm) == places(without) != set()


def places(model):
    return {name for name, _ in model.named_modules() if name.split(".")[-1] == "norm"}


@pytest.mark.parametrize("network", NETWORKS)
def test_has_head_norm_says_whether_the_head_norm_is_used(network):
    head_norm = norms.none()
    model = build(network, head_norm=head_norm)
    assert bool(head_norm.calls) == type(model).has_head_norm
    assert isinstance(model.classifier, nn.Linear)


@pytest.mark.parametrize("network", PLAIN)
def test_preact_is_refused_without_a_residual_stream(network):
    with pytest.raises(ConfigError, match=f"^placement=preact needs .* got model={network}; take"):
        build(network, placement="preact")


@pytest.mark.parametrize(("network", "smallest"), [("lenet", 12), ("simple_cnn", 16), ("classifier", 8)])
def test_the_smallest_image_works_and_a_smaller_one_is_refused(network, smallest):
    model = build(network, image_shape=(1, smallest, smallest), norm=norms.none())
    assert model(torch.randn(2, 1, smallest, smallest)).shape == (2, 10)
    message = (
        f"^model={network} needs images of at least {smallest}x{smallest}, got {smallest}x{smallest - 1};"
    )
    with pytest.raises(ConfigError, match=message):
        build(network, image_shape=(1, smallest, smallest - 1), norm=norms.none())


@pytest.mark.parametrize("network", ["resnet", "resnet18", "mlp"])
def test_some_networks_take_a_single_pixel(network):
    model = build(network, image_shape=(3, 1, 1), norm=norms.none())
    assert model(torch.randn(2, 3, 1, 1)).shape == (2, 10)


def test_lenet_has_the_published_number_of_parameters():
    # 156 + 2,416 + 48,120 + 10,164 + 850; batch norm trades 226 biases for 226 weights and 226 biases.
    assert num_parameters(build("lenet", norm=norms.none())) == 61_706
    assert num_parameters(build("lenet")) == 61_932
    assert num_parameters(build("lenet", placement="post")) == 61_706 + 452


def test_simple_cnn_has_the_published_number_of_parameters():
    # 260 + 5,020 + 16,050 + 510, and two values a channel for 10 + 20 channels.
    assert num_parameters(build("simple_cnn", head_norm=norms.none(), placement="post")) == 21_840 + 60


def test_classifier_has_the_published_number_of_parameters():
    # 3x3 weights 1,728 + 73,728 + 294,912 + 1,179,648, dense 131,072, norms 2 x 1,216, classifier 2,570.
    model = ImageClassifier(image_shape=(3, 32, 32), num_classes=10, units=units())
    assert num_parameters(model) == 1_550_016 + 131_072 + 2_432 + 2_570


def test_resnet18_has_the_parameters_of_torchvisions_but_for_stem_and_classes():
    torchvision_models = pytest.importorskip("torchvision.models")
    published = num_parameters(torchvision_models.resnet18(num_classes=10)) - 64 * 3 * (49 - 9)
    model = ResNet(image_shape=(3, 32, 32), num_classes=10, units=units(), depth=18)
    assert num_parameters(model) == published == 11_173_962


def test_resnet20_has_the_published_number_of_parameters():
    # stem 432; 3x3 weights 6 x 2,304, 4,608 + 5 x 9,216, 18,432 + 5 x 36,864; shortcuts 512 + 2,048;
    # norms 2 x (7 x 16 + 7 x 32 + 7 x 64), one a weight layer; classifier 650.
    published = 432 + 13_824 + 50_688 + 202_752 + 2_560 + 1_568 + 650
    model = ResNet(image_shape=(3, 32, 32), num_classes=10, units=units(), depth=20)
    assert num_parameters(model) == published == 272_474


def test_mlp_counts_its_hidden_layers():
    assert num_parameters(build("mlp", norm=norms.none())) == 78_500 + 2 * 10_100 + 1_010
    model = MLP(image_shape=(1, 28, 28), num_classes=10, units=units(), hidden=[])
    assert num_parameters(model) == 7_850
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)


def test_lenet_computes_its_formula():
    model = build("lenet", activation="sigmoid").eval()
    x = torch.randn(3, 1, 28, 28)
    c1, c2, d1, d2 = model.conv1, model.conv2, model.dense1, model.dense2
    y = F.conv2d(x, c1.linear.weight, padding=2) / (1 + 1e-5) ** 0.5
    y = F.conv2d(F.avg_pool2d(torch.sigmoid(y), 2), c2.linear.weight) / (1 + 1e-5) ** 0.5
    y = F.avg_pool2d(torch.sigmoid(y), 2).reshape(3, 400)
    y = torch.sigmoid(y @ d1.linear.weight.T / (1 + 1e-5) ** 0.5)
    y = torch.sigmoid(y @ d2.linear.weight.T / (1 + 1e-5) ** 0.5)
    expected = y @ model.classifier.weight.T + model.classifier.bias
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-6)


def run_order(model, x):
    called = []
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    model(x)
    return called


@pytest.mark.parametrize(
    ("placement", "order"),
    [
        ("post", ["linear", "early_pool", "activation", "norm", "dropout"]),
        ("pre", ["linear", "early_pool", "norm", "activation", "dropout"]),
    ],
)
def test_simple_cnn_pools_right_after_its_weights(placement, order):
    model = build("simple_cnn", placement=placement, head_norm=norms.none())
    called = run_order(model, torch.randn(2, 1, 28, 28))
    assert [name for name in called if name.startswith("conv")] == [
        f"{unit}.{part}" for unit in ("conv1", "conv2") for part in order
    ]


def test_simple_cnn_without_dropout_has_none():
    model = SimpleCNN(image_shape=(1, 28, 28), num_classes=10, units=units(), dropout=0.0)
    assert not [name for name, _ in model.named_modules() if "dropout" in name]


def test_classifier_drops_out_only_before_its_last_layer():
    called = run_order(build("classifier"), torch.randn(2, 1, 28, 28))
    assert called[-6:] == [
        "average",
        "dense1.linear",
        "dense1.norm",
        "dense1.activation",
        "dense1.dropout",
        "classifier",
    ]
    assert [name for name in called if "pool" in name] == ["conv1.pool", "conv2.pool", "conv3.pool"]


def standardize(x):
    mean = x.mean((0, 2, 3), keepdim=True)
    return (x - mean) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()


def conv(unit, x, stride=1):
    padding = unit.linear.weight.shape[-1] // 2
    return F.conv2d(x, unit.linear.weight, unit.linear.bias, stride=stride, padding=padding)


@pytest.mark.parametrize("placement", ["pre", "post", "preact"])
@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (6, 1), (4, 2), (6, 2)])
def test_basic_block_computes_its_formula(placement, channels, stride):
    torch.manual_seed(0)
    block = BasicBlock("b", (4, 7, 9), channels, stride, units(placement=placement)).double()
    x = torch.randn(5, 4, 7, 9, dtype=torch.float64)
    shortcut = x
    if (channels, stride) != (4, 1):
        shortcut = conv(block.shortcut, x, stride)
        shortcut = shortcut if placement == "preact" else standardize(shortcut)
    if placement == "pre":
        y = standardize(conv(block.conv2, standardize(conv(block.conv1, x, stride)).relu()))
        expected = (y + shortcut).relu()
    elif placement == "post":
        y = standardize(conv(block.conv1, x, stride).relu())
        expected = standardize(conv(block.conv2, y).relu()) + shortcut
    else:
        y = conv(block.conv1, standardize(x).relu(), stride)
        expected = conv(block.conv2, standardize(y).relu()) + shortcut
    assert expected.shape[1:] == block.shape
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


def test_a_norm_with_a_nonlinearity_leaves_none_after_the_sum():
    model = build("resnet", norm=norms.swish())
    called = run_order(model, torch.randn(2, 1, 28, 28))
    assert not [name for name in called if name.endswith("conv1.activation")]
    block = model.stage1[0]
    x = torch.randn(2, 4, 28, 28)
    torch.testing.assert_close(block(x), block.conv2(block.conv1(x)) + x, rtol=0, atol=0)


def test_preact_resnet_ends_in_norm_and_activation_and_starts_bare():
    called = run_order(build("resnet", placement="preact"), torch.randn(2, 1, 28, 28))
    assert called[0] == "stem.linear"
    assert called[1] == "stage1.0.conv1.norm"
    assert called[-4:] == ["closing.norm", "closing.activation", "average", "classifier"]


@pytest.mark.parametrize(
    ("depth", "stages"), [(8, [1] * 3), (18, [2] * 4), (20, [3] * 3), (32, [5] * 3), (56, [9] * 3)]
)
def test_depth_sets_the_number_of_blocks(depth, stages):
    model = ResNet(image_shape=(3, 8, 8), num_classes=10, units=units(), depth=depth, width=1)
    found = [len(stage) for name, stage in model.named_children() if name.startswith("stage")]
    assert found == stages
    body = [m for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and "shortcut" not in n]
    assert len(body) + 1 == depth


@pytest.mark.parametrize("depth", [2, 0, -4, 19, 51, 8.0, True, "18"])
def test_other_depths_are_refused_with_the_allowed_ones(depth):
    with pytest.raises(ConfigError, match=r"^model\.depth must be 18 or 6n \+ 2 \(8, .*\), got "):
        ResNet(image_shape=(3, 8, 8), num_classes=10, units=units(), depth=depth)


@pytest.mark.parametrize("width", [0, -1, 1.5, "wide", None])
def test_other_widths_are_refused(width):
    with pytest.raises(ConfigError, match=r"^model\.width must be auto or a whole number"):
        ResNet(image_shape=(3, 8, 8), num_classes=10, units=units(), width=width)


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_zero_init_residual_starts_each_block_as_its_shortcut(placement):
    model = small_resnet(
        image_shape=(3, 8, 8), num_classes=10, units=units(placement=placement), zero_init_residual=True
    )
    x = torch.randn(2, 4, 8, 8).relu()
    assert torch.equal(model.stage1[0](x), x)


@pytest.mark.parametrize(
    ("norm", "placement", "reason"),
    [
        (norms.none, "pre", r"norms with a weight, got Identity at stage1\.0\.conv2\.norm; take"),
        (norms.batch, "preact", "a norm at the end of each block, got placement=preact"),
    ],
)
def test_zero_init_residual_is_refused_where_it_cannot_work(norm, placement, reason):
    make = units(norm(), placement=placement)
    with pytest.raises(ConfigError, match=rf"^model\.zero_init_residual needs {reason}"):
        small_resnet(image_shape=(3, 8, 8), num_classes=10, units=make, zero_init_residual=True)


@pytest.mark.parametrize("hidden", [[100, 0], [1.5], ["100"], 100, None])
def test_mlp_refuses_widths_that_are_no_counts(hidden):
    with pytest.raises(ConfigError, match=r"^model\.hidden must be a list of whole numbers from 1 to"):
        MLP(image_shape=(1, 8, 8), num_classes=10, units=units(), hidden=hidden)


def test_classifier_refuses_no_widths():
    with pytest.raises(ConfigError, match=r"^model\.widths must hold at least one width, got \[\]"):
        ImageClassifier(image_shape=(1, 8, 8), num_classes=10, units=units(), widths=[])


@pytest.mark.parametrize("network", NETWORKS)
def test_a_copy_computes_the_same_and_shares_nothing(network):
    model = build(network, image_shape=(1, 16, 16)).eval()
    twin = copy.deepcopy(model)
    x = torch.randn(2, 1, 16, 16)
    before = model(x)
    assert torch.equal(twin(x), before)
    for parameter in twin.parameters():
        parameter.data.zero_()
    assert torch.equal(model(x), before)


def test_units_are_made_by_keyword_too():
    make = Units(norm=norms.batch(), head_norm=norms.none(), placement="pre", activation="tanh")
    assert isinstance(make.dense("u", (3,), 2).activation, nn.Tanh)

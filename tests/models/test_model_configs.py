"""The YAML files of networks and initial weights: each names its knobs exactly, and builds."""

import inspect
from importlib import import_module
from pathlib import Path

import norm_stand_ins as norms
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from norm_stand_ins import units
from omegaconf import OmegaConf
from torch import nn

from bnexp.models.init import initialize

CONF = Path(__file__).parents[2] / "conf"
MODELS = sorted((CONF / "model").glob("*.yaml"))
INITS = sorted((CONF / "init").glob("*.yaml"))
PUBLISHED = {
    "lenet": ("sigmoid", "pre"),
    "simple_cnn": ("relu", "post"),
    "classifier": ("relu", "pre"),
    "resnet": ("relu", "pre"),
    "mlp": ("sigmoid", "pre"),
}


def load(path):
    return OmegaConf.to_container(OmegaConf.load(path))


def knobs_of(node):
    return {key: value for key, value in node.items() if not key.startswith("_")}


def defaults_of(target):
    """Return the target's knobs, those of its parameters that have a default, as YAML would hold them."""
    module, _, name = target.rpartition(".")
    parameters = inspect.signature(getattr(import_module(module), name)).parameters.values()
    knobs = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in knobs.items()}


@pytest.mark.parametrize("path", [*MODELS, *INITS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_yaml_lists_exactly_the_knobs_with_their_defaults(path):
    node = load(path)
    node = node["model"] if path in MODELS else node
    assert node["_partial_"] is True
    assert knobs_of(node) == defaults_of(node["_target_"])


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_model_yaml_builds_the_network_as_published(path):
    config = load(path)
    assert (config["activation"], config["placement"]) == PUBLISHED[path.stem]
    make = units(norms.batch(), placement=config["placement"], activation=config["activation"])
    network = instantiate(config["model"], _convert_="all")
    model = network(image_shape=(1, 28, 28), num_classes=10, units=make)
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("path", INITS, ids=lambda path: path.stem)
def test_init_yaml_builds_a_scheme(path):
    layer = nn.Linear(3, 2)
    before = layer.weight.clone()
    initialize(layer, instantiate(load(path), _convert_="all"), 0)
    assert not torch.equal(layer.weight, before)


@pytest.mark.parametrize("path", [*MODELS, *INITS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_yaml_begins_with_one_sentence(path):
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    sentence = second if first.startswith("# @package") else first
    assert sentence.startswith("# ") and sentence.endswith(".")


@pytest.fixture
def mini(tmp_path):
    """Return a function that composes the model files under a root with stand-ins for the other groups."""
    (tmp_path / "model").symlink_to(CONF / "model")
    (tmp_path / "norm").mkdir()
    for name in ("custom", "group", "none"):
        (tmp_path / "norm" / f"{name}.yaml").write_text(f"kind: {name}\n")
    (tmp_path / "train.yaml").write_text(
        "defaults: [_self_, {norm: custom}, {norm@head_norm: null}, {model: lenet}]\n"
        "activation: relu\nplacement: pre\n"
    )

    def composed(*words):
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            return OmegaConf.to_container(compose("train", list(words)))

    return composed


def test_a_model_brings_its_head_norm_and_the_command_line_wins(mini):
    assert mini().get("head_norm") is None
    assert mini("model=simple_cnn")["head_norm"] == {"kind": "none"}
    assert mini("model=simple_cnn")["norm"] == {"kind": "custom"}
    assert mini("model=simple_cnn", "norm@head_norm=custom")["head_norm"] == {"kind": "custom"}
    assert mini("norm@head_norm=group", "model=simple_cnn")["head_norm"] == {"kind": "group"}


def test_a_model_brings_activation_and_placement_and_the_command_line_wins(mini):
    assert mini()["activation"] == "sigmoid"
    assert mini("model=simple_cnn")["placement"] == "post"
    chosen = mini("placement=pre", "model=simple_cnn", "activation=tanh")
    assert (chosen["placement"], chosen["activation"]) == ("pre", "tanh")

"""Where norms stand, found by name alone; whoever asks gets the same places."""

from __future__ import annotations

import subprocess
import sys

import pytest
from norm_stand_ins import batch, none, units
from torch import nn

from bnexp.models.lenet import LeNet
from bnexp.models.part_names import is_of_norm, norm_places, unit_of
from bnexp.models.resnet import ResNet

LENET_NORMS = ["conv1.norm", "conv2.norm", "dense1.norm", "dense2.norm"]


@pytest.mark.parametrize("norm", [batch, none])
def test_every_unit_has_a_place_whatever_stands_there(norm):
    model = LeNet(image_shape=(1, 28, 28), num_classes=10, units=units(norm()))
    assert list(norm_places(model)) == LENET_NORMS
    assert norm_places(model)["conv1.norm"] is model.conv1.norm


def test_shortcuts_of_a_residual_network_count_too():
    model = ResNet(image_shape=(1, 28, 28), num_classes=10, units=units(), depth=8)
    assert "stage2.0.shortcut.norm" in norm_places(model)


class Wrapper(nn.Module):
    """A user's norm with a norm in it."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.after = nn.ModuleDict({"norm": nn.LayerNorm(3)})


def test_a_norm_within_a_norm_is_no_place_of_its_own_and_a_shared_one_is_one_place():
    shared = nn.BatchNorm1d(3)
    model = nn.ModuleDict(
        {"a": nn.ModuleDict({"norm": Wrapper()}), "norm": shared, "b": nn.ModuleDict({"norm": shared})}
    )
    assert list(norm_places(model)) == ["a.norm", "norm"]


@pytest.mark.parametrize(
    ("name", "of_norm"),
    [
        ("conv1.norm", True),
        ("conv1.norm.weight", True),
        ("norm.inner.bias", True),
        ("conv1.linear.weight", False),
        ("normal.weight", False),
        ("", False),
    ],
)
def test_what_belongs_to_a_norm(name, of_norm):
    assert is_of_norm(name) == of_norm


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("conv1.norm", "conv1"),
        ("conv1.linear.weight", "conv1"),
        ("stage1.0.conv2.norm", "stage1.0.conv2"),
        ("classifier.weight", "classifier"),
        ("conv1.norm.weight", "conv1.norm.weight"),
        ("classifier.bias", "classifier.bias"),
    ],
)
def test_the_unit_of_a_name(name, unit):
    assert unit_of(name) == unit


def test_names_are_read_without_loading_torch():
    """Verbs that read runs and completion ask for units, and must start at once."""
    code = "import sys, bnexp.models.part_names; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0

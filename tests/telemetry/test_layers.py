"""Which layers and parameters the patterns pick."""

import pytest
import watched

from bnexp.models.part_names import norm_places
from bnexp.telemetry.probes import picked, unmatched

LENET_NORMS = ["conv1.norm", "conv2.norm", "dense1.norm", "dense2.norm"]


def names_of(model):
    return norm_places(model), dict(model.named_parameters())


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["*"], LENET_NORMS),
        (["conv1"], ["conv1.norm"]),
        (["conv1.norm"], ["conv1.norm"]),
        (["conv*", "dense2"], ["conv1.norm", "conv2.norm", "dense2.norm"]),
        (["dense[12].norm"], ["dense1.norm", "dense2.norm"]),
        (["classifier"], []),
        (["CONV1"], []),
        ([], []),
    ],
)
def test_patterns_pick_layers_by_their_own_or_their_units_name(patterns, names):
    assert list(picked(norm_places(watched.network()), patterns)) == names


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("conv1", ["conv1.linear.weight", "conv1.norm.weight", "conv1.norm.bias"]),
        ("conv1.norm", ["conv1.norm.weight", "conv1.norm.bias"]),
        ("*.linear.weight", [f"{unit}.linear.weight" for unit in ("conv1", "conv2", "dense1", "dense2")]),
        ("classifier.bias", ["classifier.bias"]),
        ("stage1", []),
    ],
)
def test_patterns_pick_parameters_by_their_own_or_a_module_s_name(pattern, names):
    assert list(picked(dict(watched.network().named_parameters()), [pattern])) == names


def test_a_pattern_picks_no_other_layer_that_begins_like_it():
    assert picked(norm_places(watched.network("resnet")), ["stage1.0.conv"]) == {}


def test_a_pattern_that_picks_nothing_is_one_line_each_with_the_names_that_exist():
    assert unmatched(*names_of(watched.network()), ["conv1", "conv9", "norm"]) == [
        f"telemetry.layers must match layers of this network, got '{pattern}': "
        "take conv1, conv2, dense1, dense2, classifier"
        for pattern in ("conv9", "norm")
    ]


def test_a_deep_network_s_names_are_cut_short(monkeypatch):
    monkeypatch.setattr("bnexp.telemetry.probes.SHOWN", 3)
    (line,) = unmatched(*names_of(watched.network("resnet")), ["conv9"])
    assert line.endswith("take stem, stage1.0.conv1, stage1.0.conv2, 7 more")


@pytest.mark.parametrize("patterns", [["*"], [], ["classifier"], ["conv1", "dense2.norm.bias"]])
def test_patterns_that_pick_something_are_fine(patterns):
    assert unmatched(*names_of(watched.network()), patterns) == []

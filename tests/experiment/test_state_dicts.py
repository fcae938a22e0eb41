"""A network's tensors are found wherever other training code put them."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from bnexp.experiment.state_dicts import StateDict, state_dicts

OWN = {
    name: torch.full((1,), float(number))
    for number, name in enumerate(("conv.weight", "norm.bias", "head.bias"))
}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return OrderedDict((f"{prefix}{name}", value) for name, value in OWN.items())


def the_one(content: dict[str, object]) -> StateDict:
    (found,) = state_dicts(content, OWN)
    assert found.values == OWN
    assert found.matches == len(OWN)
    return found


PLACES = {
    "alone": (OWN, ""),
    "bnexp's best.pt": ({"model": OWN, "step": 3}, "model"),
    "a common loop": (
        {"epoch": 3, "model_state_dict": OWN, "optimizer_state_dict": {"state": {}}},
        "model_state_dict",
    ),
    "any name": ({"net": OWN, "acc": 0.9}, "net"),
    "nested": ({"saved": {"weights": {"net": OWN}}}, "saved.weights.net"),
    "DataParallel": (prefixed("module."), "(names without module.)"),
    "DataParallel, nested": ({"state_dict": prefixed("module.")}, "state_dict (names without module.)"),
    "compiled": (prefixed("_orig_mod."), "(names without _orig_mod)"),
    "both": (prefixed("module._orig_mod."), "(names without _orig_mod, module.)"),
    "Lightning": ({"state_dict": prefixed("model."), "epoch": 1}, "state_dict (names without model.)"),
    "average": (prefixed("ema.module."), "(names without ema.module.)"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_the_place_is_found_and_named(kind: str) -> None:
    content, place = PLACES[kind]
    found = the_one(content)
    assert found.place == place
    assert found.beside == []


def test_wrappers_inside_of_names() -> None:
    names = (
        "conv._orig_mod.weight",
        "norm._checkpoint_wrapped_module.bias",
        "_fsdp_wrapped_module.head.bias",
    )
    found = the_one(dict(zip(names, OWN.values(), strict=True)))
    assert found.place == "(names without _checkpoint_wrapped_module, _fsdp_wrapped_module, _orig_mod)"


def test_what_stands_beside_is_named() -> None:
    found = the_one({"state_dict": {**prefixed("model."), "loss.weight": torch.ones(2), "steps": 3}})
    assert found.beside == ["loss.weight"]


def test_the_same_network_twice_is_found_twice_in_the_files_order() -> None:
    found = state_dicts({"net": OWN, "ema": prefixed("module.")}, OWN)
    assert [part.place for part in found] == ["net", "ema (names without module.)"]
    found = state_dicts({**prefixed("ema."), **prefixed("model.")}, OWN)
    assert [part.place for part in found] == ["(names without ema.)", "(names without model.)"]


def test_moments_of_an_optimizer_are_no_network() -> None:
    moments = {0: {"exp_avg": torch.ones(1)}, 1: {"exp_avg": torch.ones(1)}}
    assert (
        the_one({"optimizer": {"state": moments}, "streams": {"dropout": torch.ones(1)}, "net": OWN}).place
        == "net"
    )


def test_a_shared_name_does_not_hide_a_prefix() -> None:
    """A second head has the name of the network's own."""
    found = the_one({**prefixed("student."), "head.bias": torch.ones(1)})
    assert found.beside == ["head.bias"]


def test_real_wrappers_of_torch() -> None:
    network = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), norm=nn.BatchNorm2d(2)))
    own = network.state_dict()
    for wrapped in (nn.DataParallel(network), torch.compile(network), AveragedModel(network)):
        (found,) = state_dicts(wrapped.state_dict(), own)
        assert found.values.keys() == own.keys()
        assert found.beside in ([], ["n_averaged"])


def test_without_tensors_there_is_nothing() -> None:
    assert state_dicts({"epoch": 3, "model": [1, 2]}, OWN) == []
    assert state_dicts({}, OWN) == []


def test_of_another_network_nothing_matches() -> None:
    (found,) = state_dicts({"state_dict": {"layer1.0.weight": torch.ones(1)}}, OWN)
    assert (found.matches, found.place) == (0, "state_dict")

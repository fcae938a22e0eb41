"""The YAML files of optimizers and schedules: each names its knobs exactly, and builds."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

CONF = Path(__file__).parents[2] / "conf"
OPTIMIZERS = sorted((CONF / "optimizer").glob("*.yaml"))
SCHEDULES = sorted((CONF / "schedule").glob("*.yaml"))


def load(path):
    return OmegaConf.to_container(OmegaConf.load(path))


def defaults_of(target):
    """Return the target's knobs, those of its parameters that have a default, as YAML would hold them."""
    module, _, name = target.rpartition(".")
    parameters = inspect.signature(getattr(import_module(module), name)).parameters.values()
    knobs = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in knobs.items()}


@pytest.mark.parametrize("path", [*OPTIMIZERS, *SCHEDULES], ids=lambda path: path.stem)
def test_yaml_lists_exactly_the_knobs_with_their_defaults(path):
    node = load(path)
    knobs = {key: value for key, value in node.items() if not key.startswith("_")}
    assert knobs == defaults_of(node["_target_"])
    assert node["_partial_"] is True


@pytest.mark.parametrize("path", OPTIMIZERS, ids=lambda path: path.stem)
def test_optimizer_yaml_builds(path):
    optimizer = instantiate(load(path), _convert_="all")(nn.Linear(2, 2), {})
    assert optimizer.param_groups[0]["lr"] == load(path)["lr"]


@pytest.mark.parametrize("path", SCHEDULES, ids=lambda path: path.stem)
def test_schedule_yaml_builds(path):
    schedule = instantiate(load(path), _convert_="all")(total_steps=20)
    assert 0 < schedule(0) <= 1


@pytest.mark.parametrize("path", [*OPTIMIZERS, *SCHEDULES], ids=lambda path: path.stem)
def test_yaml_begins_with_one_sentence(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ") and first.endswith(".")

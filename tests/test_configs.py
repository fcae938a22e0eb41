"""Every YAML under conf/, found by walking the folder: it resolves, binds exactly, and says what it is."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from omegaconf import OmegaConf

from bnexp import config as schema
from bnexp.choices import ABOUT, SplitKnobs, description, groups
from bnexp.composition.compose import as_yaml, compose, restore
from bnexp.config import TrainConfig

CONF = Path(__file__).parents[1] / "conf"
ROOT = CONF / "train.yaml"
PRESETS = sorted((CONF / "experiment").glob("*.yaml"))
SCHEMA_PARTS = sorted((CONF / "telemetry").glob("*.yaml"))
CONVENTIONS = sorted((CONF / "convention").glob("*.yaml"))
BUILT = sorted(set(CONF.rglob("*.yaml")) - {ROOT, *PRESETS, *SCHEMA_PARTS, *CONVENTIONS})
CHOICES = sorted(set(CONF.rglob("*.yaml")) - {ROOT})
SPLIT_KNOBS = {field.name for field in fields(SplitKnobs)}
SOURCE = ("arXiv:", "Source:", "article", "reference text", "paper")


def name(path: Path) -> str:
    return str(path.relative_to(CONF).with_suffix(""))


def load(path: Path) -> dict[str, Any]:
    plain = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(plain, dict)
    return plain


def node_of(path: Path) -> dict[str, Any]:
    """Return the part of the file that describes what is built: a model's stands under its group."""
    content = load(path)
    return content if "_target_" in content else content[path.parent.name]


def target_of(path: Path) -> Any:
    module, _, attribute = node_of(path)["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def knobs_of(path: Path) -> dict[str, Any]:
    """Return the keywords with a default of the constructor, as YAML would hold them."""
    parameters = inspect.signature(target_of(path)).parameters.values()
    knobs = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {knob: list(value) if isinstance(value, tuple) else value for knob, value in knobs.items()}


def leaves(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def comments(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]]
    return [line for line in head if not line.startswith("# @package")]


def overriding_words(preset: Path) -> list[str]:
    """Return the choices of a preset as words: `override /norm@head_norm: none` is head_norm=none."""
    words = []
    for entry in load(preset).get("defaults", []):
        ((key, choice),) = entry.items()
        group = key.removeprefix("override /").rpartition("@")[2]
        words.append(f"{group}={choice}")
    return words


def test_the_folder_is_found_whole() -> None:
    assert len(BUILT) >= 25
    assert len(PRESETS) >= 4
    assert {path.parent.name for path in BUILT} == {"norm", "model", "data", "optimizer", "schedule", "init"}


@pytest.mark.parametrize("path", BUILT, ids=name)
def test_the_target_is_bnexps_and_takes_no_stray_keywords(path: Path) -> None:
    assert node_of(path)["_target_"].startswith("bnexp.")
    assert node_of(path)["_partial_"] is True
    parameters = inspect.signature(target_of(path)).parameters.values()
    assert not [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


@pytest.mark.parametrize("path", BUILT, ids=name)
def test_the_yaml_names_exactly_the_knobs_of_the_constructor(path: Path) -> None:
    named = {key for key in node_of(path) if key not in ("_target_", "_partial_", *ABOUT)}
    extra = SPLIT_KNOBS if path.parent.name == "data" else set()
    assert named == set(knobs_of(path)) | extra
    assert not set(knobs_of(path)) & extra


@pytest.mark.parametrize("path", BUILT, ids=name)
def test_the_yaml_shows_the_defaults_of_the_constructor(path: Path) -> None:
    group, choice = name(path).split("/")
    node = getattr(compose([f"{group}={choice}"]).config, group)
    assert {knob: node[knob] for knob in knobs_of(path)} == knobs_of(path)


@pytest.mark.parametrize("path", CHOICES, ids=name)
def test_the_first_comment_is_a_sentence_and_what_help_shows(path: Path) -> None:
    first = comments(path)[0]
    assert first.startswith("# ")
    assert first.endswith(".")
    assert len(first) <= 120
    group, choice = name(path).split("/")
    assert groups()[group][choice] == description(path) == first.removeprefix("# ")


@pytest.mark.parametrize("path", CHOICES, ids=name)
def test_every_choice_composes_without_a_mistake_or_a_note(path: Path) -> None:
    group, choice = name(path).split("/")
    composition = compose([f"{group}={choice}"])
    assert (composition.problems, composition.notes) == ([], [])
    assert composition.config.choices[group] == choice
    assert restore(as_yaml(composition.config)) == composition.config


def test_the_help_lists_exactly_the_files() -> None:
    listed = {f"{group}/{choice}" for group, choices in groups().items() for choice in choices}
    assert listed == {name(path) for path in CHOICES}


def test_train_yaml_and_the_schema_have_the_same_keys() -> None:
    root = load(ROOT)
    defaults = [entry for entry in root.pop("defaults") if isinstance(entry, dict)]
    chosen = {key.rpartition("@")[2] for entry in defaults for key in entry} - {"experiment", "convention"}
    assert set(root) | chosen == {field.name for field in fields(TrainConfig)}
    assert set(root) & chosen == {"head_norm"}  # null there means that the whole norm node is copied


def test_the_parts_of_the_schema_are_spelt_out() -> None:
    parts = {key: hint for key, hint in get_type_hints(TrainConfig).items() if is_dataclass(hint)}
    shown = {key: [load(ROOT)[key]] for key in parts if key in load(ROOT)}
    shown["telemetry"] = [load(path) for path in SCHEMA_PARTS]
    assert set(shown) == set(parts)
    for key, nodes in shown.items():
        for node in nodes:
            assert set(node) == {field.name for field in fields(parts[key])}


def test_no_default_stands_in_the_schema() -> None:
    for part in (
        TrainConfig,
        SplitKnobs,
        schema.EarlyStopping,
        schema.Checkpoint,
        schema.FreezeNorm,
        schema.Telemetry,
    ):
        with pytest.raises(TypeError, match="missing"):
            part()


def repeated_defaults(preset: Path) -> set[str]:
    listed = leaves({key: value for key, value in load(preset).items() if key != "defaults"})
    without = leaves(asdict(compose(overriding_words(preset)).config))
    return {key for key, value in listed.items() if without[key] == value}


@pytest.mark.parametrize("preset", PRESETS, ids=name)
def test_a_preset_changes_every_value_that_it_lists(preset: Path) -> None:
    assert not repeated_defaults(preset)


@pytest.mark.parametrize("preset", PRESETS, ids=name)
def test_a_preset_takes_effect_whole(preset: Path) -> None:
    config = compose([f"experiment={preset.stem}"]).config
    listed = leaves({key: value for key, value in load(preset).items() if key != "defaults"})
    composed = leaves(asdict(config))
    assert {key: composed[key] for key in listed} == listed
    for word in overriding_words(preset):
        group, choice = word.split("=")
        assert config.choices[group] == choice


@pytest.mark.parametrize("preset", PRESETS, ids=name)
def test_a_preset_names_its_source(preset: Path) -> None:
    text = " ".join(comments(preset))
    assert len(comments(preset)) >= 2
    assert any(word in text for word in SOURCE)


@pytest.mark.parametrize("preset", PRESETS, ids=name)
def test_a_preset_is_global_and_only_overrides_choices(preset: Path) -> None:
    assert preset.read_text(encoding="utf-8").startswith("# @package _global_\n")
    for entry in load(preset).get("defaults", []):
        assert all(key.startswith("override /") for key in entry)

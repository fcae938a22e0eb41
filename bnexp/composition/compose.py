"""Shell words in, one checked `TrainConfig` out, or every mistake in them at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnexp import config as schema
from bnexp.composition import targets, words
from bnexp.composition.choices import conf_dir, conf_dirs
from bnexp.composition.mistakes import first_line, per_word
from bnexp.composition.nearest import suggestion
from bnexp.composition.notes import notes
from bnexp.config import TrainConfig
from bnexp.errors import CheckpointError, ConfigError

ROOT = "train"


@dataclass(frozen=True)
class Composition:
    """A configuration of which every part can be built, with what its author should know of it.

    `problems` holds a line for each word or value that is wrong: the run must not start, but the other parts
    can still be tried, so that all mistakes are told together.
    """

    config: TrainConfig
    notes: list[str]
    problems: list[str]


def compose(given: Sequence[str], plugins: Sequence[str] = ()) -> Composition:
    """Compose `conf/` and the shell words `given`.

    Raises:
        ConfigError: what is left without the wrong words is no whole configuration, or names code or knobs
            that do not exist; holds a line for every mistake found.
    """
    targets.import_plugins(plugins)
    rewritten, found = _rewritten(given)
    with _hydra():
        node, mistakes = _composed(rewritten)
    found += mistakes
    if node is None:
        raise ConfigError(found)
    found += _finish(node, rewritten)
    config, unbuildable = _plain(node)
    if config is None:
        raise ConfigError(found + unbuildable)
    unbuildable = _binding(config, plugins)
    found += schema.problems(config)
    if unbuildable:
        raise ConfigError(found + unbuildable)
    return Composition(config, notes(node, config, {words.key(word) for word in given}), found)


def restore(text: str, plugins: Sequence[str] = ()) -> TrainConfig:
    """Read a run's `config.yaml` back; what it may build is checked again."""
    targets.import_plugins(plugins)
    try:
        node = OmegaConf.merge(OmegaConf.structured(TrainConfig), OmegaConf.create(text))
        config = OmegaConf.to_object(node)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise CheckpointError(
            f"config.yaml does not fit this version of bnexp: {first_line(error)}"
        ) from error
    assert isinstance(config, TrainConfig)
    wrong = schema.problems(config) + _binding(config, plugins)
    if wrong:
        raise ConfigError(wrong)
    return config


def as_yaml(config: TrainConfig) -> str:
    """Return the resolved configuration as text, the whole truth about a run."""
    return str(yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True, width=110))


@contextmanager
def _hydra() -> Iterator[None]:
    ConfigStore.instance().store("schema", TrainConfig)
    with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="bnexp"):
        yield


def _rewritten(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Rewrite all words; where some cannot be, each alone, so that the others are still looked at."""
    try:
        return words.rewrite(given), []
    except ConfigError as error:
        found = error.problems
    good: list[str] = []
    for word in given:
        try:
            good += words.rewrite([word])
        except ConfigError:
            continue
    durations = [word for word in good if words.key(word) in ("epochs", "steps")]
    return [word for word in good if word not in durations], found


def _composed(rewritten: list[str]) -> tuple[DictConfig | None, list[str]]:
    """Compose all words, or, if they do not compose, the ones that do, with a line for each other."""
    body = [word for word in rewritten if not words.key(word).startswith("head_norm.")]
    try:
        return _compose(body), []
    except (HydraException, OmegaConfBaseException) as error:
        good, mistakes = per_word(body, _compose)
        joint = [first_line(error)] if not mistakes else []
        try:
            return _compose(good), mistakes + joint
        except (HydraException, OmegaConfBaseException):
            return None, mistakes + joint


def _compose(overrides: Sequence[str]) -> DictConfig:
    own = [f"file://{folder}" for folder in conf_dirs()[1:]]
    search = [f"hydra.searchpath=[{','.join(own)}]"] if own else []
    return hydra_compose(ROOT, overrides=[*search, *overrides], return_hydra_config=True)


def _finish(node: DictConfig, rewritten: list[str]) -> list[str]:
    """Fill in what follows from the rest: the choices' names, the head's norm, the one duration."""
    found = []
    chosen = dict(node.hydra.runtime.choices)
    OmegaConf.set_struct(node, False)
    del node["hydra"]
    node.choices = {
        name.partition("@")[2] or name: choice for name, choice in chosen.items() if "hydra" not in name
    }
    if node.head_norm is None:
        node.head_norm = OmegaConf.to_container(node.norm)
        node.choices.head_norm = node.choices.norm
    OmegaConf.set_struct(node, True)
    known = {field.name for field in fields(TrainConfig)}
    found += [f"unknown key {name!r}{suggestion(str(name), known)}" for name in node if name not in known]
    found += _set_head_knobs(node, rewritten)
    if node.epochs is not None and node.steps is not None:
        found += _preset_duration(node)
    return found


def _set_head_knobs(node: DictConfig, rewritten: list[str]) -> list[str]:
    """Apply the words `head_norm.KNOB=...`, which need the head's norm in place."""
    found = []
    for word in rewritten:
        name = words.key(word)
        if name.startswith("head_norm."):
            try:
                OmegaConf.update(node, name, yaml.safe_load(words.value(word)))
            except (OmegaConfBaseException, yaml.YAMLError) as error:
                found.append(f"{word}: {first_line(error)}")
    return found


def _preset_duration(node: DictConfig) -> list[str]:
    """A preset that gives steps replaces the default epochs; one that gives both contradicts itself."""
    name = f"experiment/{node.choices.experiment}.yaml"
    preset: Any = {}
    for folder in reversed(conf_dirs()):
        if (folder / name).is_file():
            preset = yaml.safe_load((folder / name).read_text(encoding="utf-8")) or {}
    if preset.get("epochs") is not None and preset.get("steps") is not None:
        return [f"{name} must give epochs or steps, not both"]
    node.epochs = None
    return []


def _plain(node: DictConfig) -> tuple[TrainConfig | None, list[str]]:
    try:
        config = OmegaConf.to_object(node)
    except OmegaConfBaseException as error:
        return None, [first_line(error)]
    assert isinstance(config, TrainConfig)
    return config, []


def _binding(config: TrainConfig, plugins: Sequence[str]) -> list[str]:
    found = []
    for group in targets.BUILT:
        found += targets.problems(group, getattr(config, group), plugins)
    return list(dict.fromkeys(found))

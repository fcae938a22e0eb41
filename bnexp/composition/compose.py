"""Shell words in, one checked `TrainConfig` out, or every mistake in them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnexp import config as schema
from bnexp.composition import targets, words
from bnexp.composition.choices import conf_dir, conf_dirs
from bnexp.composition.mistakes import (
    first_line,
    key_mistake,
    knob_by_knob,
    loose_flags,
    parse,
    per_word,
    reason,
)
from bnexp.composition.notes import notes
from bnexp.config import TrainConfig
from bnexp.errors import CheckpointError, ConfigError
from bnexp.nearest import suggestion

ROOT = "train"
DURATIONS = ("epochs", "steps")
# Beside defaults, all that these words can do wrong is seen without building anything, so without torch.
HARMLESS = {
    "norm",
    "norm@head_norm",
    "batch_size",
    "seed",
    "epochs",
    "steps",
    "momentum",
    "threads",
    "runs_dir",
}
UNCOMPOSABLE = (
    HydraException,
    OmegaConfBaseException,
    yaml.YAMLError,
    OSError,
    ValueError,
    RecursionError,
)


@dataclass(frozen=True)
class Composition:
    """A configuration of which every part can be built, with what its author should know of it.

    `problems` holds a line for each word or value that is wrong: the run must not start, but the other parts
    can still be tried, so that all mistakes are told together. `broken` names the groups whose node does not
    fit its constructor, or names code that may not run: these must not be tried.
    """

    config: TrainConfig
    notes: list[str]
    problems: list[str]
    broken: frozenset[str] = frozenset()


def compose(given: Sequence[str], plugins: Sequence[str] = ()) -> Composition:
    """Compose `conf/` and the shell words `given`.

    Raises:
        ConfigError: what is left without the wrong words is no whole configuration; holds a line for every
            mistake found.
    """
    targets.import_plugins(plugins)
    rewritten, found = _rewritten(given)
    head_knobs = [word for word in rewritten if words.key(word).startswith("head_norm.")]
    with _hydra():
        node, good, mistakes = _composed([word for word in rewritten if word not in head_knobs])
    found += mistakes + loose_flags(good)
    if node is None:
        raise ConfigError(found)
    lost = {words.key(word) for word in rewritten} - {words.key(word) for word in good}
    found += _finish(node, head_knobs if lost.isdisjoint(("norm", "norm@head_norm")) else [])
    config, unbuildable = _plain(node)
    if config is None:
        raise ConfigError(found + unbuildable)
    found += schema.problems(config)
    if found and _harmless(good, config):
        raise ConfigError(found)
    misfits = _binding(config, plugins)
    found += [line for lines in misfits.values() for line in lines]
    broken = frozenset(misfits)
    known = [] if broken else notes(node, config, {words.key(word) for word in given})
    return Composition(config, known, found, broken)


def restore(text: str, plugins: Sequence[str] = ()) -> TrainConfig:
    """Read a run's `config.yaml` back; what it may build is checked again."""
    targets.import_plugins(plugins)
    try:
        if not isinstance(yaml.safe_load(text), Mapping):
            raise CheckpointError("config.yaml must hold a configuration, with a value for each key")
        node = OmegaConf.merge(OmegaConf.structured(TrainConfig), OmegaConf.create(text))
        config = OmegaConf.to_object(node)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise CheckpointError(f"config.yaml does not fit this version of bnexp: {_keyed(error)}") from error
    assert isinstance(config, TrainConfig)
    misfits = _binding(config, plugins)
    wrong = schema.problems(config) + [line for lines in misfits.values() for line in lines]
    if wrong:
        raise ConfigError(wrong)
    return config


def as_yaml(config: TrainConfig) -> str:
    """Return the resolved configuration as text, the whole truth about a run."""
    return str(yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True, width=110))


@contextmanager
def _hydra() -> Iterator[None]:
    """Let Hydra compose `conf/`, also where this process already is one of its jobs."""
    ConfigStore.instance().store("schema", TrainConfig)
    outer = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="bnexp"):
            yield
    finally:
        restore_gh_from_backup(outer)


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
    return [word for word in good if words.key(word) not in DURATIONS], found


def _composed(body: list[str]) -> tuple[DictConfig | None, list[str], list[str]]:
    """Compose all words, or, if they do not compose, the ones that do, with a line for each other.

    Returns what was composed, of which words, and the lines.
    """
    try:
        return _compose(body), body, []
    except ConfigError as error:
        good, mistakes = per_word(body, _compose)
        joint = error.problems if not mistakes else []
    if any(words.key(word) in DURATIONS for word in set(body) - set(good)):
        good = [word for word in good if words.key(word) not in DURATIONS]
    try:
        return _compose(good), good, mistakes + joint
    except ConfigError:
        return None, good, mistakes + joint


def search_path() -> list[str]:
    """Return the word that tells Hydra of the user's own folder of choices, none where there is none."""
    own = [QuotedString(f"file://{folder}", Quote.single).with_quotes() for folder in conf_dirs()[1:]]
    return [f"hydra.searchpath=[{','.join(own)}]"] if own else []


def _compose(overrides: Sequence[str]) -> DictConfig:
    try:
        return hydra_compose(ROOT, overrides=[*search_path(), *overrides], return_hydra_config=True)
    except UNCOMPOSABLE as error:
        raise ConfigError(reason(error)) from error


def _finish(node: DictConfig, head_knobs: list[str]) -> list[str]:
    """Fill in what follows from the rest: the choices' names, the head's norm, the one duration."""
    found = []
    chosen = dict(node.hydra.runtime.choices)
    OmegaConf.set_struct(node, False)
    del node["hydra"]
    node.choices = {
        name.partition("@")[2] or name: choice for name, choice in chosen.items() if "hydra" not in name
    }
    if node.head_norm is None and OmegaConf.is_config(node.norm):
        node.head_norm = OmegaConf.to_container(node.norm)
        node.choices.head_norm = node.choices.norm
    OmegaConf.set_struct(node, True)
    known = {field.name for field in fields(TrainConfig)}
    found += [f"unknown key {name!r}{suggestion(str(name), known)}" for name in node if name not in known]
    found += _set_head_knobs(node, head_knobs)
    raw: Any = OmegaConf.to_container(node, resolve=False)
    if all(raw[name] is not None for name in DURATIONS):
        found += _preset_duration(node)
    return found


def _set_head_knobs(node: DictConfig, head_knobs: list[str]) -> list[str]:
    """Apply the words `head_norm.KNOB=...`, which need the head's norm in place."""
    parsed, found = parse(head_knobs)
    for word, override in parsed.items():
        line = key_mistake(word, override, node, dict(node.choices))
        try:
            if not line:
                OmegaConf.update(node, override.key_or_group, override.value())
        except OmegaConfBaseException as error:
            line = f"{word}: {first_line(error)}"
        found += [line] if line else []
    return found


def _preset_duration(node: DictConfig) -> list[str]:
    """A preset that gives steps replaces the default epochs; one that gives both contradicts itself."""
    name = f"experiment/{node.choices.experiment}.yaml"
    preset: Any = {}
    for folder in reversed(conf_dirs()):
        if (folder / name).is_file():
            preset = yaml.safe_load((folder / name).read_text(encoding="utf-8")) or {}
    node.epochs = None
    both = preset.get("epochs") is not None and preset.get("steps") is not None
    return [f"{name} must give epochs or steps, not both"] if both else []


def _harmless(good: Sequence[str], config: TrainConfig) -> bool:
    """Whether no part of a run could find fault with the words `good`, so that none need be tried."""
    return {words.key(word) for word in good} <= HARMLESS and config.batch_size != 1 and len(conf_dirs()) == 1


def _plain(node: DictConfig) -> tuple[TrainConfig | None, list[str]]:
    try:
        config = OmegaConf.to_object(node)
    except OmegaConfBaseException as error:
        return None, [_keyed(error)]
    assert isinstance(config, TrainConfig)
    shapeless = [
        knob_by_knob(name)
        for name, hint in get_type_hints(TrainConfig).items()
        if is_dataclass(hint) and not is_dataclass(getattr(config, name))
    ]
    return (None, shapeless) if shapeless else (config, [])


def _keyed(error: Exception) -> str:
    key = getattr(error, "full_key", None)
    return f"{key}: {first_line(error)}" if key else first_line(error)


def _binding(config: TrainConfig, plugins: Sequence[str]) -> dict[str, list[str]]:
    """Return, by group, what does not fit the constructors; a head that copies the norm repeats nothing."""
    found: dict[str, list[str]] = {}
    for group in targets.BUILT:
        if group == "head_norm" and config.head_norm == config.norm:
            continue
        lines = targets.problems(group, getattr(config, group), plugins)
        if lines:
            found[group] = lines
    return found

"""Shell words to one checked `TrainConfig` by Hydra alone; what its parts make of it is not asked yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnexp import config as schema
from bnexp.choices import ABOUT, BUILT, conf_dir, conf_dirs
from bnexp.composition import own_files, words
from bnexp.composition.mistakes import (
    first_line,
    key_mistake,
    keyed,
    knob_by_knob,
    loose_flags,
    parse,
    per_word,
    reason,
)
from bnexp.config import TrainConfig
from bnexp.errors import ConfigError, suggestion
from bnexp.shorthand import NORMS, SHORTHANDS

ROOT = "train"
DURATIONS = ("epochs", "steps")
# Beside defaults, validation alone finds every error in these keys: nothing is built, and torch not loaded.
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
class Draft:
    """A whole configuration, as Hydra's node and as ours, with a line for each thing that is wrong in it."""

    node: DictConfig
    config: TrainConfig
    problems: list[str]


def draft(given: Sequence[str]) -> Draft:
    """Compose `conf/` and the shell words `given`, without torch.

    Raises:
        ConfigError: holds a line for every mistake found; what is left without the wrong words is no whole
            configuration, or no part of a run could find another mistake.
    """
    rewritten, found = _rewritten(given)
    if broken := own_files.mistakes(rewritten):
        raise ConfigError([*found, *broken])
    head_knobs = [word for word in rewritten if words.key(word).startswith("head_norm.")]
    with _hydra():
        node, good, mistakes = _composed([word for word in rewritten if word not in head_knobs])
    found += mistakes + loose_flags(good)
    if node is None:
        raise ConfigError(found)
    lost = {words.key(word) for word in rewritten} - {words.key(word) for word in good}
    found += _finish(node, good, head_knobs if lost.isdisjoint(("norm", "norm@head_norm")) else [])
    config, unbuildable = _plain(node)
    if config is None:
        raise ConfigError(found + unbuildable)
    found += schema.problems(config)
    if found and _harmless(good, config):
        raise ConfigError(found)
    return Draft(node, config, found)


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
    own = [words.quoted(f"file://{folder}") for folder in conf_dirs()[1:]]
    return [f"hydra.searchpath=[{','.join(own)}]"] if own else []


def _compose(overrides: Sequence[str]) -> DictConfig:
    try:
        return hydra_compose(ROOT, overrides=[*search_path(), *overrides], return_hydra_config=True)
    except UNCOMPOSABLE as error:
        raise ConfigError(reason(error)) from error


def _finish(node: DictConfig, good: list[str], head_knobs: list[str]) -> list[str]:
    """Fill in what follows from the rest: the choices' names, the head's norm, the one duration."""
    found = []
    chosen = dict(node.hydra.runtime.choices)
    OmegaConf.set_struct(node, False)
    del node["hydra"]
    chosen = {name.partition("@")[2] or name: path for name, path in chosen.items() if "hydra" not in name}
    node.choices = {
        name: path and path.removeprefix("./").removesuffix(".yaml") for name, path in chosen.items()
    }
    found += [
        f"{name}={path}: a choice is a name, without its folder"
        for name, path in node.choices.items()
        if path and "/" in path
    ]
    _expand_home(node)
    for group in BUILT:
        if OmegaConf.is_dict(node[group]):
            for key in ABOUT:
                node[group].pop(key, None)
    _set_norms(node, good)
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


def _expand_home(node: DictConfig) -> None:
    """Put the home folder in the place of a leading `~`, wherever a path may stand."""
    for name in node:
        child = None if OmegaConf.is_interpolation(node, str(name)) else node[name]
        if isinstance(child, DictConfig):
            _expand_home(child)
        elif isinstance(child, str) and child.partition("/")[0] == "~":
            node[name] = str(Path(child).expanduser())


def _set_norms(node: DictConfig, good: list[str]) -> None:
    """Let each norm take the words `momentum=...` and `eps=...`, unless a word sets its own knob.

    A reference and no value, so that the knob also follows a word like `momentum=${optimizer.momentum}`.
    """
    typed = {words.key(word) for word in good}
    for override in parse([word for word in good if words.key(word) == "norm"])[0].values():
        if isinstance(value := override.value(), dict):
            typed |= {f"norm.{knob}" for knob in value}
    for norm in NORMS:
        for name in SHORTHANDS:
            has = OmegaConf.is_dict(node[norm]) and name in node[norm]
            if has and name in typed and f"{norm}.{name}" not in typed:
                node[norm][name] = f"${{{name}}}"


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
        return None, [keyed(error)]
    assert isinstance(config, TrainConfig)
    shapeless = [
        knob_by_knob(name)
        for name, hint in get_type_hints(TrainConfig).items()
        if is_dataclass(hint) and not is_dataclass(getattr(config, name))
    ]
    return (None, shapeless) if shapeless else (config, [])

"""Shell words in, one checked `TrainConfig` out, or every mistake in them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnexp import config as schema
from bnexp import plain_files
from bnexp.choices import BUILT
from bnexp.compatibility import completed
from bnexp.composition import targets, words
from bnexp.composition.drafts import draft
from bnexp.composition.mistakes import keyed
from bnexp.composition.notes import notes
from bnexp.config import TrainConfig
from bnexp.errors import CheckpointError, ConfigError
from bnexp.shorthand import norm_values


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
    drafted = draft(given)
    misfits = _binding(drafted.config, plugins)
    found = drafted.problems + [line for lines in misfits.values() for line in lines]
    typed = {words.key(word) for word in given}
    known = [] if misfits else notes(drafted.node, drafted.config, typed)
    return Composition(_as_norms_have(drafted.config), known, found, frozenset(misfits))


def restore(text: str, plugins: Sequence[str] = ()) -> TrainConfig:
    """Read a run's `config.yaml` back, of an earlier version too; what it may build is checked again."""
    targets.import_plugins(plugins)
    try:
        if not isinstance(plain_files.from_yaml(text), Mapping):
            raise CheckpointError("config.yaml must hold a configuration, with a value for each key")
        recorded: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        node = OmegaConf.merge(OmegaConf.structured(TrainConfig), OmegaConf.create(completed(recorded)))
        config = OmegaConf.to_object(node)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise CheckpointError(f"config.yaml does not fit this version of bnexp: {keyed(error)}") from error
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"config.yaml must hold a configuration: {reason}") from error
    assert isinstance(config, TrainConfig)
    misfits = _binding(config, plugins)
    wrong = schema.problems(config) + [line for lines in misfits.values() for line in lines]
    if wrong:
        raise ConfigError(wrong)
    return _as_norms_have(config)


def as_yaml(config: TrainConfig) -> str:
    """Return the resolved configuration as text, the whole truth about a run."""
    return str(yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True, width=110))


def _as_norms_have(config: TrainConfig) -> TrainConfig:
    """Return a configuration that says at its top which momentum and eps its norm has.

    What the top cannot hold, as a norm of a user's own may have it, stands in the norm's node alone.
    """
    types = get_type_hints(TrainConfig)
    for name, value in norm_values(vars(config)).items():
        changed = replace(config, **{name: value})
        if targets.fits(value, types[name]) and len(schema.problems(changed)) <= len(schema.problems(config)):
            config = changed
    return config


def _binding(config: TrainConfig, plugins: Sequence[str]) -> dict[str, list[str]]:
    """Return, by group, what does not fit the constructors; a head that copies the norm repeats nothing."""
    found: dict[str, list[str]] = {}
    for group in BUILT:
        if group == "head_norm" and config.head_norm == config.norm:
            continue
        lines = targets.problems(group, getattr(config, group), plugins)
        if lines:
            found[group] = lines
    return found

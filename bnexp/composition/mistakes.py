"""What is wrong with each word, said in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnexp.composition.choices import groups
from bnexp.composition.nearest import suggestion
from bnexp.composition.targets import readable
from bnexp.config import TrainConfig

Compose = Callable[[Sequence[str]], DictConfig]


def per_word(words: Sequence[str], compose: Compose) -> tuple[list[str], list[str]]:
    """Return the words that compose and a line for each that does not.

    Choices are looked at first; every other word is then looked at beside the good choices, because
    `norm.num_groups=4` is right or wrong depending on `norm`. Knobs of a choice that is wrong are let be.
    """
    parsed, mistakes = _parsed(words)
    known = groups()
    choices = {word: override for word, override in parsed.items() if override.key_or_group in known}
    good, wrong = [], set()
    for word, override in choices.items():
        line = _choice_mistake(word, override, known[override.key_or_group])
        if line:
            mistakes.append(line)
            wrong.add(override.package or override.key_or_group)
        else:
            good.append(word)
    base = compose(good)
    for word, override in parsed.items():
        if word in choices or override.key_or_group.partition(".")[0] in wrong:
            continue
        line = _value_mistake(word, override, base, [*good, word], compose)
        mistakes += [line] if line else []
        good += [] if line else [word]
    return good, mistakes


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _parsed(words: Sequence[str]) -> tuple[dict[str, Override], list[str]]:
    parser = OverridesParser.create()
    parsed, mistakes = {}, []
    for word in words:
        try:
            parsed[word] = parser.parse_override(word)
        except HydraException as error:
            mistakes.append(f"{word!r} cannot be read; words look like KEY=VALUE ({first_line(error)})")
    return parsed, mistakes


def _choice_mistake(word: str, override: Override, options: dict[str, str]) -> str | None:
    if override.is_sweep_override():
        return f"{word}: several values need -m (a sweep)"
    name = override.value()
    if name is None or name in options:
        return None
    said = word.removeprefix("norm@")
    return f"{said}: must be one of {', '.join(sorted(options))}{suggestion(str(name), options)}"


def _value_mistake(
    word: str, override: Override, base: DictConfig, words: Sequence[str], compose: Compose
) -> str | None:
    if override.is_sweep_override():
        return f"{word}: several values need -m (a sweep)"
    name = override.key_or_group
    if not (override.is_add() or override.is_force_add()) and not _exists(base, name):
        return unknown(name, base)
    try:
        compose(words)
    except (HydraException, OmegaConfBaseException) as error:
        hint = schema_hint(name)
        if hint is not None:
            return f"{name} must be {readable(hint)}, got {override.get_value_string()!r}"
        return f"{word}: {first_line(error.__cause__ or error)}"
    return None


def unknown(name: str, base: DictConfig) -> str:
    """Return the line about a key that is nowhere: its nearest name, or what its choice does have."""
    parent, _, last = name.rpartition(".")
    node = OmegaConf.select(base, parent) if parent else None
    if not isinstance(node, DictConfig):
        return f"unknown key {name!r}{suggestion(name, [*_keys(base), *groups()])}"
    knobs = [str(knob) for knob in node if not str(knob).startswith("_")]
    choice = base.hydra.runtime.choices.get(parent)
    owner = f"{parent}={choice}" if choice else parent
    listed = f"its knobs are {', '.join(knobs)}" if knobs else "it has none"
    return f"{owner} has no knob {last!r}{suggestion(last, knobs) or f'; {listed}'}"


def schema_hint(name: str) -> Any:
    """Return the type that the schema gives a dotted key, None where a choice's YAML decides."""
    hint: Any = TrainConfig
    for field in name.split("."):
        if not is_dataclass(hint):
            return None
        hint = get_type_hints(hint).get(field)
    return None if hint is Any or is_dataclass(hint) else hint


def _exists(base: DictConfig, name: str) -> bool:
    parent, _, last = name.rpartition(".")
    node = OmegaConf.select(base, parent) if parent else base
    return OmegaConf.is_dict(node) and last in node


def _keys(base: DictConfig) -> list[str]:
    plain = OmegaConf.to_container(base, resolve=False)
    assert isinstance(plain, dict)
    return dotted({str(name): child for name, child in plain.items() if name not in ("hydra", "choices")})


def dotted(node: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted names of all leaves below `node`, those that name code left out."""
    names = []
    for name, child in node.items():
        if isinstance(child, Mapping):
            names += dotted(child, f"{prefix}{name}.")
        elif name not in ("_target_", "_partial_"):
            names.append(f"{prefix}{name}")
    return names

"""What is wrong with each word, said in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from bnexp.choices import groups, known, meant
from bnexp.composition.targets import readable
from bnexp.config import TrainConfig
from bnexp.errors import ConfigError, suggestion

Compose = Callable[[Sequence[str]], DictConfig]
GRAMMAR = (
    r"token recognition|no viable|mismatched|missing|extraneous"  # a parser's words, about its own rules
)
NOTHING = ("none", "null", "no", "off", "false", "")  # what people write for no choice at all
SWEPT = "several values need -m (a sweep)"


def per_word(words: Sequence[str], compose: Compose) -> tuple[list[str], list[str]]:
    """Return the words that compose and a line for each that does not.

    Choices are looked at first; every other word is then looked at beside the good choices, because
    `norm.num_groups=4` is right or wrong depending on `norm`. Knobs of a choice that is wrong are let be.
    `compose` raises ConfigError.
    """
    parsed, mistakes = parse(words)
    known = groups()
    choices = {word: override for word, override in parsed.items() if _is_choice(override, known)}
    good: list[str] = []
    wrong = set()
    for word, override in choices.items():
        line = _choice_mistake(word, override, known[override.key_or_group])
        line = line or _failure(word, [*good, word], compose)
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


def parse(words: Sequence[str]) -> tuple[dict[str, Override], list[str]]:
    """Return what Hydra's grammar makes of each word, and a line for each that it cannot read."""
    parser = OverridesParser.create()
    parsed, mistakes = {}, []
    for word in words:
        try:
            override = parser.parse_override(word)
        except RecursionError:
            mistakes.append(f"{word!r} cannot be read; it is nested too deeply")
        except (HydraException, ValueError) as error:
            mistakes.append(_unreadable(word, error))
        else:
            if override.key_or_group:
                parsed[word] = override
            else:
                mistakes.append(f"{word!r} cannot be read; words look like KEY=VALUE")
    return parsed, mistakes


def _unreadable(word: str, error: BaseException) -> str:
    said = first_line(error)
    if "=" not in word:
        return f"{word!r} cannot be read; words look like KEY=VALUE"
    why = "" if re.match(GRAMMAR, said) else f" ({said})"
    return (
        f"{word!r} cannot be read{why}; words look like KEY=VALUE, and a value with special characters is "
        "put in quotes of its own: 'KEY=\"VALUE\"'"
    )


def loose_flags(words: Sequence[str]) -> list[str]:
    """Return a line for each flag that is neither true nor false; OmegaConf takes any number for true."""
    parsed = parse(words)[0]
    flags = {word: each for word, each in parsed.items() if schema_hint(each.key_or_group) is bool}
    return [
        f"{override.key_or_group} must be true or false, got {override.get_value_string()!r}"
        for word, override in flags.items()
        if not isinstance(override.value(), bool) and "${" not in word
    ]


def reason(error: BaseException) -> str:
    """Return why a composition failed, in one line, with the file and the key where they are known."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    nested = re.match(r"In '([^']+)': \w+ raised while composing config:\n(.*)", str(error))
    if nested:
        key = re.search(r"full_key: (\S+)", str(error))
        return f"{nested[1]}.yaml: {nested[2]}" + (f" ({key[1]})" if key else "")
    return first_line(error.__cause__ or error)


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def keyed(error: Exception) -> str:
    """Return an error's first line behind the key that it is about, where it knows one."""
    key = getattr(error, "full_key", None)
    return f"{key}: {first_line(error)}" if key else first_line(error)


def _is_choice(override: Override, known: Mapping[str, Any]) -> bool:
    return override.key_or_group in known and not isinstance(override.value(), dict)


def _choice_mistake(word: str, override: Override, options: dict[str, str]) -> str | None:
    if override.is_sweep_override():
        return f"{word}: {SWEPT}"
    name = override.value()
    if name in list(options):
        return None
    said = word.removeprefix("norm@")
    if str(name).lower() in NOTHING:
        hint = " (did you mean none?)" if "none" in options else "; leave the word out for the default"
    else:
        others = meant(override.key_or_group, str(name))
        hint = f" (did you mean {' or '.join(others)}?)" if others else suggestion(str(name), options)
    return f"{said}: must be one of {', '.join(sorted(options))}{hint}"


def _value_mistake(
    word: str, override: Override, base: DictConfig, words: Sequence[str], compose: Compose
) -> str | None:
    name = override.key_or_group
    line = key_mistake(word, override, base, dict(base.hydra.runtime.choices))
    if line:
        return line
    line = _failure(word, words, compose)
    if line and name in get_type_hints(TrainConfig) and is_dataclass(get_type_hints(TrainConfig)[name]):
        return knob_by_knob(name)
    hint = schema_hint(name)
    if line and hint is not None:
        knob = known(name)
        wanted = knob.must_be if knob is not None and knob.must_be else readable(hint)
        return f"{name} must be {wanted}, got {override.get_value_string()!r}"
    return line


def knob_by_knob(name: str) -> str:
    """Return the line about a value for a whole part of the schema."""
    knobs = [f"{name}.{field.name}" for field in fields(get_type_hints(TrainConfig)[name])]
    return f"{name} is no knob itself; its knobs are {', '.join(knobs)}"


def _failure(word: str, words: Sequence[str], compose: Compose) -> str | None:
    try:
        compose(words)
    except ConfigError as error:
        return f"{word}: {error}"
    return None


def key_mistake(word: str, override: Override, base: DictConfig, choices: Mapping[str, Any]) -> str | None:
    """Return the line about a word that lists several values or sets a key that `base` does not have."""
    if override.is_sweep_override():
        return f"{word}: {SWEPT}"
    name = override.key_or_group
    return None if _exists(base, name) else unknown(name, base, choices)


def unknown(name: str, base: DictConfig, choices: Mapping[str, Any]) -> str:
    """Return the line about a key that is nowhere: its nearest name, or what its choice does have."""
    parent, _, last = name.rpartition(".")
    node = OmegaConf.select(base, parent) if parent else None
    if not isinstance(node, DictConfig):
        return f"unknown key {name!r}{suggestion(name, [*_keys(base), *groups()])}"
    knobs = [str(knob) for knob in node if not str(knob).startswith("_")]
    choice = choices.get(parent)
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

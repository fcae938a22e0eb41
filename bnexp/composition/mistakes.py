"""What is wrong with each word, said in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnexp.composition.choices import groups
from bnexp.composition.nearest import suggestion

Compose = Callable[[Sequence[str]], DictConfig]


def per_word(words: Sequence[str], compose: Compose) -> tuple[list[str], list[str]]:
    """Return the words that compose and a line for each that does not.

    Choices are looked at first; every other word is then looked at beside the good choices, because
    `norm.num_groups=4` is right or wrong depending on `norm`.
    """
    parsed, mistakes = _parsed(words)
    known = groups()
    choices = {
        word: override
        for word, override in parsed.items()
        if override.get_key_element() and _group(override) in known
    }
    good: list[str] = []
    for word, override in choices.items():
        line = _choice_mistake(word, override, known[_group(override)])
        mistakes += [line] if line else []
        good += [] if line else [word]
    base = compose(good)
    for word, override in parsed.items():
        if word not in choices:
            line = _value_mistake(word, override, base, [*good, word], compose)
            mistakes += [line] if line else []
            good += [] if line else [word]
    return good, mistakes


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _group(override: Override) -> str:
    return override.key_or_group


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
    return f"{word}: must be one of {', '.join(sorted(options))}{suggestion(str(name), options)}"


def _value_mistake(
    word: str, override: Override, base: DictConfig, words: Sequence[str], compose: Compose
) -> str | None:
    if override.is_sweep_override():
        return f"{word}: several values need -m (a sweep)"
    name = override.key_or_group
    if not (override.is_add() or override.is_force_add()) and not _exists(base, name):
        return f"unknown key {name!r}{suggestion(name, [*_keys(base), *groups()])}"
    try:
        compose(words)
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        return f"{word}: {first_line(cause)}"
    return None


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

"""What to call runs that are shown together: by what differs between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bnexp.choices import GROUPS, own_values, shared
from bnexp.choices import title as called
from bnexp.config import KNOBS
from bnexp.knobs import Knob
from bnexp.runs.identity import ASIDE, NORM_OPTIONS, norm_options
from bnexp.runs.reading import leaves
from bnexp.shorthand import NORMS, SHORTHANDS

SAID_AT_THE_TOP = tuple(f"norm.{name}" for name in SHORTHANDS)
SEED = "seed"  # said last


def _headlines() -> dict[str, Knob]:
    """Return the knobs that people study, by their keys in `facts`, in the order in which names hold them."""
    found = {}
    for key, knob in KNOBS.items():
        if knob.phrase:
            found[f"choices.{key}" if knob.folder else key] = knob
        if knob.folder:
            found |= {f"{key}.{name}": each for name, each in shared(key).items() if each.phrase}
    return found


HEADLINES = _headlines()


def legend_names(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a short name for each run, such as `custom, batch 8`: its choices that not all runs share.

    What follows from another choice is left out: the knobs of a norm that only one of the runs has, a head
    norm that is a copy of the norm. Runs that do not differ are numbered; a run alone is called by its norm.

    Args:
        configs: resolved, as `bnexp.runs.reading.read_config` gives them.
    """
    return _numbered(names(configs))


def names(configs: Sequence[Mapping[str, Any]], always: Collection[str] = ()) -> list[str]:
    """Return the names of `legend_names` without numbers: runs that do not differ share one.

    Args:
        always: keys of `facts` that a name holds even where all runs share their values.
    """
    found = [facts(config) for config in configs]
    differ = differing(found)
    keys = [key for key in _ordered(found) if key in differ or key in always]
    return [_name(fact, [key for key in keys if key in fact] or ["choices.norm"]) for fact in found]


def headlines(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a short name for each of many runs, of the choices that people study; names may repeat."""
    found = [facts(config) for config in configs]
    keys = [key for key in differing([fact for fact in found if fact]) if key in HEADLINES and key != SEED]
    return [
        _name(fact, [key for key in keys if key in fact] or ["choices.norm"]) if fact else ""
        for fact in found
    ]


def differing(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys of `facts` in which runs differ: headlines first, the seed last.

    A knob counts only if it differs between runs that took the same option of its group. The norm's momentum
    and eps also count where they differ between norms, unless the norm's own YAML says so, as with frn.
    """
    return [key for key in _ordered(found) if _varies(key, found) and not _follows_the_norm(key, found)]


def title(key: str) -> str:
    """Return a key of `facts` as the words of a command line have it: `norm` for `choices.norm`."""
    return key.removeprefix("choices.")


def _name(fact: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(phrase(key, fact.get(key, "run")) for key in keys)


def facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of a resolved configuration that can tell runs apart, under dotted keys.

    The option that a group took stands under `choices.GROUP`, the norm's momentum and eps under `momentum`
    and `eps`. What follows from another choice is left out.
    """
    choices = config.get("choices") or {}
    kept = {key: value for key, value in config.items() if key not in (*ASIDE, "choices", *NORM_OPTIONS)}
    kept |= norm_options(config)
    if kept.get("head_norm") in (None, kept.get("norm")):
        kept.pop("head_norm", None)
    else:
        choices = {**choices, "head_norm": choices.get("head_norm") or "null"}
    found = {f"choices.{group}": option for group, option in choices.items() if option is not None}
    if "head_norm" not in kept:
        found.pop("choices.head_norm", None)
    for key, value in leaves(kept):
        hidden = key.startswith("_") or "._" in key
        if not hidden and key not in SAID_AT_THE_TOP:
            found[key] = value
    return found


def _ordered(found: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = [
        key for key in dict.fromkeys(key for fact in found for key in fact) if not key.startswith("choices.")
    ]
    rest = [key for key in keys if key not in HEADLINES]
    return [*(key for key in HEADLINES if key != SEED), *rest, SEED]


def _varies(key: str, found: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the value differs between runs of which `_rivals` says that it would tell something."""
    if len({repr(fact.get(key)) for fact in found}) < 2:
        return False
    seen: dict[Any, set[str]] = {}
    for fact in found:
        for rivals in _rivals(key, fact):
            seen.setdefault(rivals, set()).add(repr(fact.get(key)))
    return any(len(values) > 1 for values in seen.values())


def _rivals(key: str, fact: Mapping[str, Any]) -> list[Any]:
    """Return the options within which this run's value counts as a choice; None is all runs."""
    if key not in SHORTHANDS:
        return [None if key.startswith("choices.") else fact.get(f"choices.{key.split('.')[0]}")]
    if key not in fact:
        return []
    norm, head = (fact.get(f"choices.{group}") for group in NORMS)
    own = own_values("norm", norm)
    follows = fact[key] == (own if key in own else own_values("norm", head)).get(key, ...)
    return [norm] if follows else [norm, None]


def _follows_the_norm(key: str, found: Sequence[Mapping[str, Any]]) -> bool:
    """Whether this is the head's momentum or eps, which in all runs is that of the norm."""
    name = key.removeprefix("head_norm.")
    if name == key or name not in SHORTHANDS:
        return False
    return all(fact.get(key, fact.get(name)) == fact.get(name) for fact in found)


def phrase(key: str, value: Any) -> str:
    """Return a key of `facts` and its value in words: `batch 8`, `no norm`, `batch norm (ours)`."""
    if key not in HEADLINES:
        return f"{key}={value}"
    knob = HEADLINES[key]
    spoken = knob.spoken is not None and value in knob.spoken
    return knob.say(value if spoken or not key.startswith("choices.") else called(title(key), value))


def value_name(key: str, value: Any) -> str:
    """Return the value of a key of `facts` alone: `batch norm (ours)` for a choice, `null`, `0.1`."""
    if value is None:
        return "null"
    name = title(key)
    return called(name, value) if key != name or name in GROUPS else str(value)


def _numbered(names: Sequence[str]) -> list[str]:
    total, used = Counter(names), Counter[str]()
    numbered = []
    for name in names:
        used[name] += 1
        numbered.append(f"{name} ({used[name]})" if total[name] > 1 else name)
    return numbered

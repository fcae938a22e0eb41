"""Configurations that earlier versions recorded, which lack the knobs that came later.

A knob that came later names the value with which a run does what runs did before: a field of the schema and a
knob that choices share by `as_before` (see `bnexp.knobs.Knob`), a knob that one choice alone has by an entry
`_as_before_: {KNOB: VALUE}` in that choice's YAML. A configuration without the knob has that value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bnexp.choices import BUILT, contents, shared
from bnexp.config import KNOBS
from bnexp.knobs import NEVER

Config = Mapping[str, Any]
ALIKE = ("data",)  # groups whose every choice has all that its choices share


def completed(config: Config) -> dict[str, Any]:
    """Return a recorded configuration with the knobs that it lacks; what it has is not copied."""
    found = dict(config)
    for key, value in _later_fields():
        found = _with(found, key.split("."), value)
    for group in BUILT:
        node = found.get(group)
        if isinstance(node, Mapping):
            missing = {name: value for name, value in _later_in(group, node, lacking=True)}
            found[group] = {**node, **missing} if missing else node
    return found


def without_later(config: Config) -> dict[str, Any]:
    """Return a configuration without the knobs that came later, where they are as before."""
    found = dict(config)
    for key, value in _later_fields():
        found = _without(found, key.split("."), value)
    for group in BUILT:
        node = found.get(group)
        if isinstance(node, Mapping):
            later = dict(_later_in(group, node, lacking=False))
            if later:
                found[group] = {
                    name: value for name, value in node.items() if name not in later or value != later[name]
                }
    return found


def _later_fields() -> Iterator[tuple[str, Any]]:
    return ((key, knob.as_before) for key, knob in KNOBS.items() if knob.as_before is not NEVER)


def _later_in(group: str, node: Config, *, lacking: bool) -> Iterator[tuple[str, Any]]:
    """Yield the knobs of a choice that came later and that `node` lacks, or has, each as it was before.

    The choice is found by what it builds: also one that extends it, under another name, has its knobs.
    """
    own: dict[str, Any] = {}
    for content in contents(group):
        if content.get("_target_") == node.get("_target_"):
            own |= content
    for name, knob in shared(group).items():
        has = name in own or group in ALIKE or not lacking
        if knob.as_before is not NEVER and (name in node) != lacking and has:
            yield name, knob.as_before
    for name, value in own.get("_as_before_", {}).items():
        if (name in node) != lacking:
            yield name, value


def _with(node: Config, path: list[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {**node} if first in node else {**node, first: value}
    below = node.get(first, {})
    return {**node, first: _with(below, rest, value)} if isinstance(below, Mapping) else {**node}


def _without(node: Config, path: list[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    if first not in node:
        return {**node}
    if rest and isinstance(node[first], Mapping):
        below = _without(node[first], rest, value)
        return {**node, first: below} if below else {key: item for key, item in node.items() if key != first}
    same = not rest and node[first] == value
    return {key: item for key, item in node.items() if not (same and key == first)}

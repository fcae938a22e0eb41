"""Configurations that earlier versions recorded, which lack the knobs that came later.

A knob that came later names the value with which a run does what runs did before: a field of the schema and a
knob that choices share by `as_before` (see `bnexp.knobs.Knob`), a knob that one choice alone has by an entry
`_as_before_: {KNOB: VALUE}` in that choice's YAML. A configuration without the knob has that value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bnexp.choices import BUILT, conf_dirs, contents, shared
from bnexp.config import KNOBS
from bnexp.knobs import NEVER

Config = Mapping[str, Any]
ALIKE = ("data",)  # groups whose every choice has all that its choices share


@dataclass(frozen=True)
class Later:
    """The knobs of a choice that came later, as they were before; `certain` are those that it surely has."""

    known: Config
    certain: Config


def completed(config: Config) -> dict[str, Any]:
    """Return a recorded configuration with the knobs that it lacks; what it has is not copied."""
    found = dict(config)
    for key, value in _later_fields():
        found = _with(found, key.split("."), value)
    for group, node, later in _nodes(found):
        missing = {name: value for name, value in later.certain.items() if name not in node}
        if missing:
            found[group] = {**node, **missing}
    return found


def without_later(config: Config) -> dict[str, Any]:
    """Return a configuration without the knobs that came later, where they are as before."""
    found = dict(config)
    for key, value in _later_fields():
        found = _without(found, key.split("."), value)
    for group, node, later in _nodes(found):
        if later.known:
            found[group] = {
                name: value
                for name, value in node.items()
                if name not in later.known or value != later.known[name]
            }
    return found


def _later_fields() -> Iterator[tuple[str, Any]]:
    return ((key, knob.as_before) for key, knob in KNOBS.items() if knob.as_before is not NEVER)


def _nodes(config: Config) -> Iterator[tuple[str, Config, Later]]:
    folders = tuple(map(str, conf_dirs()))  # which compare and hash ten times as fast as paths
    for group in BUILT:
        node = config.get(group)
        if isinstance(node, Mapping) and isinstance(target := node.get("_target_"), str):
            yield group, node, _later_of(group, target, folders)


@lru_cache(maxsize=1024)
def _later_of(group: str, target: str, folders: tuple[str, ...]) -> Later:
    """Return what came later of the choices that build `target`.

    A choice that extends another, under a name of its own, has that one's knobs.
    """
    own: dict[str, Any] = {}
    for content in contents(group, [Path(folder) for folder in folders]):
        if content.get("_target_") == target:
            own |= content
    joint = {name: each.as_before for name, each in shared(group).items() if each.as_before is not NEVER}
    certain = {name: value for name, value in joint.items() if name in own or group in ALIKE}
    alone = own.get("_as_before_", {})
    return Later({**joint, **alone}, {**certain, **alone})


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

"""What a YAML may build, and whether what it says fits the constructor, checked without building anything."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from bnexp.choices import GROUPS, SplitKnobs, conf_dir
from bnexp.errors import ConfigError, suggestion


@lru_cache
def shipped_targets(group: str) -> frozenset[str]:
    """Return every `_target_` that the shipped YAMLs of `group` name."""
    paths = (conf_dir() / GROUPS[group]).glob("*.yaml")
    return frozenset(target for path in paths for target in _targets(_load(path)))


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` in `node`, however deep, as text."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for child in node.values():
            yield from _targets(child)
    elif isinstance(node, (list, tuple)):
        for child in node:
            yield from _targets(child)


def import_plugins(plugins: Sequence[str]) -> None:
    """Import the modules that the user vouches for with --plugin; the working directory counts."""
    if plugins and "" not in sys.path:
        sys.path.insert(0, "")
    for name in plugins:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError(f"--plugin must be the name of a module, as in `import NAME`, got {name!r}")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ConfigError(f"--plugin {name}: no module named {error.name!r} here or installed") from error
        except SyntaxError as error:
            raise ConfigError(
                f"--plugin {name}: {error.filename}, line {error.lineno}: {error.msg}"
            ) from error


def allowed(group: str, target: str, plugins: Sequence[str]) -> bool:
    """Whether the shipped YAMLs of `group` name `target`, or it lies in a module of `plugins`."""
    return target in shipped_targets(group) or any(target.startswith(f"{name}.") for name in plugins)


def resolve(target: str) -> Callable[..., Any]:
    """Return the object that a dotted path names."""
    module, _, name = target.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise TypeError(f"{target} is not callable")
    return typing.cast(Callable[..., Any], found)


def problems(group: str, node: Any, plugins: Sequence[str] = ()) -> list[str]:
    """Return a line for everything in `node` that its target does not take, or takes as another type."""
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        return [f"{group} must be a choice with a _target_, got {shown(node)}"]
    target = node["_target_"]
    strangers = [name for name in _targets(node) if not allowed(group, name, plugins)]
    if strangers:
        return [
            f"{group}._target_={name} is not a target of bnexp's own {group} YAMLs; if it is yours, name its "
            "module with --plugin"
            for name in strangers
        ]
    if node.get("_partial_") is not True:
        return [f"{group}._partial_ must be true in its YAML, got {shown(node.get('_partial_'))}"]
    try:
        knobs = hints(group, resolve(target))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        return [f"{group}._target_={target} cannot be found: {error}"]
    found = [
        f"{group} lacks {field.name}: its YAML must name it, as those of bnexp's own data sets do"
        for field in fields(SplitKnobs)
        if group == "data" and field.name not in node
    ]
    for name, value in node.items():
        if name in ("_target_", "_partial_"):
            continue
        if name not in knobs:
            found.append(f"{group} has no knob {name!r}{suggestion(str(name), knobs)}")
        elif not fits(value, knobs[name]):
            found.append(f"{group}.{name} must be {readable(knobs[name])}, got {shown(value)}")
    return found


def hints(group: str, target: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotation of every knob: a keyword of `target` with a default."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        annotations = typing.get_type_hints(function)
    except NameError:  # a plugin may import names for its annotations under TYPE_CHECKING only
        annotations = {}
    signature = inspect.signature(target)
    knobs = {
        name: annotations.get(name, Any)
        for name, parameter in signature.parameters.items()
        if parameter.default is not parameter.empty
    }
    if group == "data":
        common = typing.get_type_hints(SplitKnobs)
        knobs |= {field.name: common[field.name] for field in fields(SplitKnobs)}
    return knobs


def fits(value: Any, hint: Any) -> bool:
    """Whether `value`, as a YAML gives it, is of the annotated type (an int is also a float)."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is None or hint is type(None):
        return value is None
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return isinstance(value, (list, tuple)) and all(fits(item, parts[0]) for item in value)
    return isinstance(value, hint) if inspect.isclass(hint) else True


def shown(value: Any) -> str:
    """Return `value` as a YAML or a shell word has it: null, true, 'text'."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def readable(hint: Any) -> str:
    """Return an annotation in plain words: 'a whole number', 'a number or null'."""
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a word",
        type(None): "null",
    }
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(readable(part) for part in parts)
    if origin is typing.Literal:
        return " or ".join(repr(part) for part in parts)
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return f"a list, each item {readable(parts[0])}"
    return names.get(hint, str(hint))

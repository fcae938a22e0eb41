"""The keys of a run and their defaults, read from the YAMLs without composing them.

Hydra would take a second to do it exactly. Here the node of a group is that of the choice which the words
name, or else a preset, or else `train.yaml`; where a sweep's words list several, it has the knobs of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bnexp.choices import GROUPS, LOADER, conf_dir, conf_dirs

COMMENT = re.compile(r"[ \t]+#[ \t]+(.*)")
GLOBAL = re.compile(r"^# *@package +_global_", re.MULTILINE)
DECAY = "the weight of the old average: decay=0.99 is momentum=0.01"


@dataclass(frozen=True)
class Entry:
    """A key of a YAML: its default as written, the default's YAML type, its comment."""

    default: str = ""
    kind: str = "null"
    about: str = ""


Tree = dict[str, "Entry | Tree"]


@dataclass(frozen=True)
class Page:
    """What one YAML holds.

    tree: its keys.
    choices: those of its defaults list, by where they land.
    bases: the choices of its own group that it extends.
    is_global: its keys are the run's own, that of its group among them.
    """

    tree: Tree = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    bases: Sequence[str] = ()
    is_global: bool = False


def root() -> Page:
    """Return the page that every run starts from, with `decay`, which stands in no YAML."""
    page = _read(conf_dir() / "train.yaml")
    tree = {name: child for name, child in page.tree.items() if name != "choices"}
    return Page({**tree, "decay": Entry(kind="float", about=DECAY)}, page.choices)


def tree(page: Page, named: Mapping[str, Sequence[str]]) -> Tree:
    """Return all knobs of a run, nested as in its configuration.

    Args:
        page: the root.
        named: for some groups, the choices that words name.
    """
    made = _made(page, named)
    nodes = {group: _merged(_node(GROUPS[group], name) for name in names) for group, names in made.items()}
    if list(made.get("head_norm", [])) == ["null"]:
        nodes["head_norm"] = nodes["norm"]
    return {**page.tree, **nodes}


def _made(page: Page, named: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the choices of each group: by words, else by a preset or a network, else by the root."""
    made: dict[str, Sequence[str]] = {group: [name] for group, name in page.choices.items()}
    for group in ("experiment", "model"):
        for name in named.get(group, made.get(group, [])):
            made |= {other: [choice] for other, choice in _choice(group, name).choices.items()}
    return {**made, **named}


def _node(group: str, name: str, depth: int = 3) -> Tree:
    """Return the knobs of one choice with those of the choices that it extends."""
    page = _choice(group, name)
    bases = [_node(group, base, depth - 1) for base in page.bases] if depth else []
    own = page.tree.get(group, {}) if page.is_global else page.tree
    return _merged([*bases, own if isinstance(own, dict) else {}])


def _merged(trees: Iterable[Tree]) -> Tree:
    merged: Tree = {}
    for one in trees:
        merged |= one
    return merged


def _choice(group: str, name: str) -> Page:
    files = (folder / group / f"{name}.yaml" for folder in conf_dirs())
    return next((_read(file) for file in files if file.is_file()), Page())


def _read(path: Path) -> Page:
    """Read a YAML; one that is broken has no keys, since a key pressed is no time to complain."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        node = yaml.compose(text, Loader=LOADER)
    except yaml.YAMLError:
        return Page()
    if not isinstance(node, yaml.MappingNode):
        return Page()
    entries = [
        entry
        for key, value in node.value
        if key.value == "defaults" and isinstance(value, yaml.SequenceNode)
        for entry in value.value
    ]
    choices = {
        _package(key.value): value.value
        for entry in entries
        if isinstance(entry, yaml.MappingNode)
        for key, value in entry.value
    }
    bases = [entry.value for entry in entries if isinstance(entry, yaml.ScalarNode)]
    tree = {name: child for name, child in _tree(node, text).items() if name != "defaults"}
    return Page(tree, choices, bases, is_global=GLOBAL.search(text) is not None)


def _package(key: str) -> str:
    """Return where a choice lands: `override /norm@head_norm` sets head_norm."""
    return re.split(r"[ /@]", key)[-1]


def _tree(node: yaml.MappingNode, text: str) -> Tree:
    return {
        key.value: _tree(value, text) if isinstance(value, yaml.MappingNode) else _entry(value, text)
        for key, value in node.value
        if not key.value.startswith("_")
    }


def _entry(node: yaml.Node, text: str) -> Entry:
    start, end = node.start_mark.index, node.end_mark.index
    comment = COMMENT.match(text, end)
    return Entry(text[start:end], node.tag.rpartition(":")[2], comment[1] if comment else "")

"""What is wrong with YAML files of a user's own, where Hydra would say it in its own words or not at all."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from bnexp.choices import GROUPS, OWN_FOLDER, conf_dirs
from bnexp.composition.words import key, value

PACKAGE = "# @package _global_"
PRESETS = "experiment"
MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# YAML 1.1 reads 010 as 8, 0x10 as 16 and 1:30 as 90; a command line does not.
OTHER_NUMBERS = re.compile(r"[-+]?(0[0-9_]+|0[xb][0-9a-fA-F_]+|[0-9][0-9_]*(:[0-5]?[0-9])+)")


def mistakes(words: Sequence[str]) -> list[str]:
    """Return a line for each mistake in the user's own files that `words` choose."""
    own = conf_dirs()[1:]
    chosen = {key(word).removeprefix("norm@"): value(word).strip("'\"") for word in words}
    found = []
    for group, folder in GROUPS.items():
        for root in own:
            name = chosen.get(group, "")
            if re.fullmatch(r"[\w.-]+", name):
                found += _of_file(root / folder, name)
    return list(dict.fromkeys(found))


def _of_file(folder: Path, name: str) -> list[str]:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        other = folder / f"{name}.yml"
        return [f"{_shown(other)}: Hydra reads .yaml only; name it {name}.yaml"] if other.is_file() else []
    content = path.read_bytes()
    if content.startswith(MARKS):
        return [f"{_shown(path)} begins with a byte order mark: save it as UTF-8 without one"]
    try:
        text = content.decode()
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        return [f"{_shown(path)} must be UTF-8 text: save it with that encoding"]
    except (yaml.YAMLError, RecursionError):
        return []  # Hydra says where
    if tree is None:
        return [f"{_shown(path)} says nothing: {_wanted(folder.name)}"]
    found = [f"{_shown(path)}, line {line}: {told}" for line, told in _odd_numbers(tree)]
    return found + (_of_preset(path, text) if folder.name == PRESETS else [])


def _of_preset(path: Path, text: str) -> list[str]:
    found = []
    if not any(line.strip() == PACKAGE for line in text.splitlines()):
        found.append(f"{_shown(path)} must begin with the line `{PACKAGE}`: without it, it sets nothing")
    content = yaml.safe_load(text)
    defaults = content.get("defaults") if isinstance(content, Mapping) else None
    for entry in defaults if isinstance(defaults, list) else []:
        for said, choice in entry.items() if isinstance(entry, Mapping) else []:
            group = str(said).removeprefix("override ").strip().lstrip("/")
            wanted = f"override /{'norm@head_norm' if group == 'head_norm' else group}"
            if group.partition("@")[0] in (*GROUPS, *GROUPS.values()) and said != wanted:
                found.append(f"{_shown(path)}: write `- {wanted}: {choice}` for `- {said}: {choice}`")
    return found


def _odd_numbers(tree: yaml.Node) -> Iterator[tuple[int, str]]:
    """Yield the line and a word on each number that a command line would not read as YAML does."""
    left, seen = [tree], set[int]()
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            if node.tag == "tag:yaml.org,2002:int" and OTHER_NUMBERS.fullmatch(node.value):
                meant = yaml.safe_load(node.value)
                yield node.start_mark.line + 1, f"YAML reads {node.value} as {meant}; write plain decimals"
        else:
            parts = node.value
            left += [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]


def _wanted(folder: str) -> str:
    if folder == PRESETS:
        return f"a preset is `{PACKAGE}` and lines like `batch_size: 8`"
    return "a choice names what is built, as `_target_: MODULE.NAME`"


def _shown(path: Path) -> str:
    return f"{OWN_FOLDER}/{path.parent.name}/{path.name}"

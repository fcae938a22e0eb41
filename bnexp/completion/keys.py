"""KEY=VALUE words: which keys there are, and which values a key takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from bnexp.completion import knobs, places, values
from bnexp.completion.candidate import Candidate
from bnexp.completion.knobs import Knob, Tree
from bnexp.composition.choices import groups
from bnexp.composition.evaluation import EvalKnobs

OWN_KEYS = ("status", "name", "experiment", "age", "started", "sweep")
CHECKED = ("norm", "momentum", "decay", "eps", "convention", "device", "runs_dir")


@dataclass(frozen=True)
class Vocabulary:
    """What the words of a verb may say.

    tree: its knobs, nested; choices: of each group, with their descriptions; defaults: of each group.
    may_deny: whether KEY!=VALUE is a word too.
    """

    tree: Tree
    choices: Mapping[str, Mapping[str, str]]
    defaults: Mapping[str, str]
    may_deny: bool = False


def of_train(words: Sequence[str]) -> Vocabulary:
    """Return the vocabulary of a run, given the words that are already there."""
    page, known = knobs.root(), groups()
    choices = {key: known.get("norm" if key == knobs.HEAD else key, {}) for key in page.choices}
    given = [word.lstrip("+").partition("=") for word in words]
    named = {key: value.split(",") for key, _, value in given if key in choices}
    return Vocabulary(knobs.tree(page, named), choices, page.choices)


def of_filters(words: Sequence[str], runs_dir: Path) -> Vocabulary:
    """Return the vocabulary of conditions on runs: what a run was given, and what became of it."""
    whole = of_train(words)
    tree = {name: child for name, child in whole.tree.items() if name != "decay"}
    known = {
        "experiment": {each.text: "" for each in places.experiments(runs_dir)},
        "sweep": {each.text: each.about for each in places.sweeps(runs_dir)},
    }
    return Vocabulary(
        {**tree, **{key: Knob() for key in OWN_KEYS}}, {**whole.choices, **known}, {}, may_deny=True
    )


def of_check(words: Sequence[str]) -> Vocabulary:
    """Return the vocabulary of `bnexp check`: what a norm alone depends on."""
    whole = of_train(words)
    return Vocabulary(
        {name: child for name, child in whole.tree.items() if name in CHECKED},
        {name: choices for name, choices in whole.choices.items() if name in CHECKED},
        whole.defaults,
    )


def of_eval(words: Sequence[str]) -> Vocabulary:
    """Return the vocabulary of `bnexp eval`."""
    tree: Tree = {
        field.name: Knob(str(field.default), "bool" if isinstance(field.default, bool) else "null")
        for field in fields(EvalKnobs)
    }
    return Vocabulary(tree, {}, {})


def candidates(current: str, vocabulary: Vocabulary, runs_dir: Path) -> Iterator[Candidate]:
    """Give what the word `current` may become."""
    key, equals, value = current.partition("=")
    found = _values(key, value, vocabulary, runs_dir) if equals else _keys(current, vocabulary)
    yield from (candidate for candidate in found if candidate.text.startswith(current))


def _keys(current: str, vocabulary: Vocabulary) -> Iterator[Candidate]:
    parent = current.rpartition(".")[0]
    node = _at(parent, vocabulary.tree)
    if not isinstance(node, dict):
        return
    prefix = f"{parent}." if parent else ""
    names = [*node, *(name for name in vocabulary.choices if name not in node)] if not parent else list(node)
    for name in names:
        child, chosen = node.get(name), not parent and name in vocabulary.choices
        if chosen:
            yield Candidate(f"{name}=", _default(vocabulary.defaults.get(name, "")))
        elif isinstance(child, Knob):
            yield Candidate(f"{prefix}{name}=", child.about or _default(child.default))
        if isinstance(child, dict) and child and (not chosen or name == current):
            yield Candidate(f"{prefix}{name}.", f"knobs: {', '.join(child)}")


def _values(key: str, value: str, vocabulary: Vocabulary, runs_dir: Path) -> Iterator[Candidate]:
    """Give the values of a key; after a comma the next of a sweep's, without those that are there already."""
    listed, comma, _ = value.rpartition(",")
    for name, about in _named(key.removesuffix("!" * vocabulary.may_deny), vocabulary).items():
        if name not in listed.split(","):
            yield Candidate(f"{key}={listed}{comma}{name}", about)
    node = _at(key, vocabulary.tree)
    if not isinstance(node, Knob):
        return
    found = [*places.runs(value, runs_dir)] if key in values.RUNS else []
    found += places.paths(value) if key in values.PATHS else []
    yield from (Candidate(f"{key}={each.text}", each.about) for each in found)


def _named(key: str, vocabulary: Vocabulary) -> Mapping[str, str]:
    if key in vocabulary.choices:
        return vocabulary.choices[key]
    node = _at(key, vocabulary.tree)
    if not isinstance(node, Knob):
        return {}
    return {name: "the default" * (name == node.default) for name in values.named(key, node.kind)}


def _at(key: str, tree: Tree) -> Knob | Tree | None:
    node: Knob | Tree | None = tree
    for name in key.split(".") if key else []:
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _default(value: str) -> str:
    return "" if value in ("", "null", "None") else f"{value} by default"

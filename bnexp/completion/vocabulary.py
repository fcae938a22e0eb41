"""KEY=VALUE words: which keys there are, and which values a key takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnexp.choices import GROUPS, groups, known
from bnexp.completion import files, yamls
from bnexp.completion.line import Candidate
from bnexp.completion.yamls import Entry, Tree
from bnexp.composition.eval_words import EVAL_KNOBS, EvalKnobs
from bnexp.composition.words import CHECK_KEYS
from bnexp.knobs import Knob
from bnexp.statuses import OWN_KEYS, STATUSES

FLAG = ("true", "false")


@dataclass(frozen=True)
class Vocabulary:
    """What the words of a verb may say.

    tree: its keys, nested; choices: of each group, with their descriptions; defaults: of each group.
    known: what is known of a dotted key besides its default, None for a knob that one choice alone has.
    may_deny: whether KEY!=VALUE is a word too.
    """

    tree: Tree
    choices: Mapping[str, Mapping[str, str]]
    defaults: Mapping[str, str]
    known: Callable[[str], Knob | None] = known
    may_deny: bool = False


def of_train(words: Sequence[str]) -> Vocabulary:
    """Return the vocabulary of a run, given the words that are already there."""
    page, found = yamls.root(), groups()
    choices = {key: found.get(GROUPS[key], {}) for key in page.choices}
    given = [word.lstrip("+").partition("=") for word in words]
    named = {key: value.split(",") for key, _, value in given if key in choices}
    return Vocabulary(yamls.tree(page, named), choices, page.choices)


def of_filters(words: Sequence[str], runs_dir: Path) -> Vocabulary:
    """Return the vocabulary of conditions on runs: what a run was given, and what became of it."""
    whole = of_train(words)
    tree = {name: child for name, child in whole.tree.items() if name != "decay"}
    choices = {
        "experiment": {each.text: "" for each in files.experiments(runs_dir)},
        "sweep": {each.text: each.about for each in files.sweeps(runs_dir)},
        "status": dict.fromkeys(STATUSES, ""),
    }
    own = {key: Entry() for key in OWN_KEYS}
    return Vocabulary({**tree, **own}, {**whole.choices, **choices}, {}, may_deny=True)


def of_check(words: Sequence[str]) -> Vocabulary:
    """Return the vocabulary of `bnexp check`: what a norm alone depends on."""
    whole = of_train(words)
    return Vocabulary(
        {name: child for name, child in whole.tree.items() if name in CHECK_KEYS},
        {name: choices for name, choices in whole.choices.items() if name in CHECK_KEYS},
        whole.defaults,
    )


def of_eval(words: Sequence[str]) -> Vocabulary:
    """Return the vocabulary of `bnexp eval`."""
    defaults = vars(EvalKnobs())
    tree: Tree = {
        name: Entry(str(value), "bool" if isinstance(value, bool) else "null")
        for name, value in defaults.items()
    }
    return Vocabulary(tree, {}, {}, EVAL_KNOBS.get)


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
        elif isinstance(child, Entry):
            knob = vocabulary.known(f"{prefix}{name}")
            about = child.about or (knob.about if knob is not None else _default(child.default))
            yield Candidate(f"{prefix}{name}=", about)
        if isinstance(child, dict) and child and (not chosen or name == current):
            yield Candidate(f"{prefix}{name}.", f"knobs: {', '.join(child)}")


def _values(key: str, value: str, vocabulary: Vocabulary, runs_dir: Path) -> Iterator[Candidate]:
    """Give the values of a key; after a comma the next of a sweep's, without those that are there already."""
    listed, comma, _ = value.rpartition(",")
    for name, about in _named(key.removesuffix("!" * vocabulary.may_deny), vocabulary).items():
        if name not in listed.split(","):
            yield Candidate(f"{key}={listed}{comma}{name}", about)
    node = _at(key, vocabulary.tree)
    if not isinstance(node, Entry):
        return
    holds = _holds(vocabulary.known(key), node)
    found = [*files.runs(value, runs_dir)] if holds == "run" else []
    found += files.paths(value) if holds else []
    yield from (Candidate(f"{key}={each.text}", each.about) for each in found)


def _named(key: str, vocabulary: Vocabulary) -> Mapping[str, str]:
    if key in vocabulary.choices:
        return vocabulary.choices[key]
    node, knob = _at(key, vocabulary.tree), vocabulary.known(key)
    if not isinstance(node, Entry):
        return {}
    names = knob.names if knob is not None else ()
    names = names or (FLAG if node.kind == "bool" else ())
    return {name: "the default" * (name == node.default) for name in names}


def _holds(knob: Knob | None, node: Entry) -> str:
    """Return what a value names: a run or a path, which null of one choice alone (`data.root`) may become."""
    if knob is None:
        return "path" if node.kind == "null" and node.default else ""
    return knob.holds


def _at(key: str, tree: Tree) -> Entry | Tree | None:
    node: Entry | Tree | None = tree
    for name in key.split(".") if key else []:
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _default(value: str) -> str:
    return "" if value in ("", "null", "None") else f"{value} by default"

"""A command line up to the cursor, and what may stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bnexp import metrics
from bnexp.completion import cursor as cursors
from bnexp.completion import files
from bnexp.completion import vocabulary as words
from bnexp.completion.cursor import Cursor
from bnexp.completion.line import Candidate

VOCABULARIES = {"eval": words.of_eval, "check": words.of_check}
ALTERNATIVES = re.compile(r"\[?([a-z_]+(?:\|[a-z_]+)*)\]?")  # a metavar in small letters lists the values
PATH_OPTIONS = ("runs_dir", "output")


def answers(root: Any, before: Sequence[str], current: str) -> list[Candidate]:
    """Return what `current` may become.

    Args:
        root: the Click command of bnexp.
        before: the words between the program's name and the cursor's word.
        current: the cursor's word up to the cursor, without quotes.
    """
    cursor = cursors.follow(root, before)
    if cursor is None:
        return []
    found = {candidate.text: candidate for candidate in _all(cursor, current)}
    return [candidate for text, candidate in found.items() if text.startswith(current)]


def _all(cursor: Cursor, current: str) -> Iterator[Candidate]:
    if cursor.option is not None:
        yield from _option_values(cursor, cursor.option, current)
    elif current.startswith("-") and not cursor.dashes_are_words:
        name, equals, value = current.partition("=")
        option = cursors.option(cursor, name) if equals else None
        if option is not None:
            found = _option_values(cursor, option, value)
            yield from (Candidate(f"{name}={each.text}", each.about) for each in found)
        else:
            yield from cursors.option_names(cursor)
    else:
        yield from cursors.commands(cursor)
        cursor = cursor.unnamed
        if cursor.argument is not None:
            yield from _argument(cursor, cursor.argument.metavar or "", current)


def _argument(cursor: Cursor, metavar: str, current: str) -> Iterator[Candidate]:
    """Give what an argument may be, as its metavar says: RUN, SWEEP, FILTER (of runs) or KEY=VALUE."""
    runs_dir = Path(cursor.options.get("runs_dir", "runs"))
    if "FILTER" in metavar:
        vocabulary = words.of_filters(cursor.positional, runs_dir)
        yield from words.candidates(current, vocabulary, runs_dir)
        yield from files.experiments(runs_dir)
    elif "=" in metavar:
        vocabulary = VOCABULARIES.get(cursor.verb, words.of_train)(cursor.positional)
        yield from words.candidates(current, vocabulary, runs_dir)
    if "FILTER" in metavar or "SWEEP" in metavar:
        yield from files.sweeps(runs_dir)
    if "RUN" in metavar or metavar in ("A", "B"):
        yield from files.runs(current, runs_dir)
        yield from files.paths(current, only_folders=True) if current else ()


def _option_values(cursor: Cursor, option: Any, current: str) -> Iterator[Candidate]:
    runs_dir, metavar = Path(cursor.options.get("runs_dir", "runs")), option.metavar or ""
    if listed := ALTERNATIVES.fullmatch(metavar):
        yield from (Candidate(value) for value in listed[1].split("|"))
    elif option.name in PATH_OPTIONS or metavar == "FILE":
        yield from files.paths(current, only_folders=option.name == "runs_dir")
    elif metavar == "TAG":
        yield from (Candidate(tag, metrics.of(tag).about) for tag in metrics.comparable())
    elif metavar == "KEY=VALUE":
        vocabulary = words.of_filters(cursor.positional, runs_dir)
        yield from words.candidates(current, vocabulary, runs_dir)
    elif metavar == "KEY,KEY":
        before, comma, last = current.rpartition(",")
        keys = words.candidates(last, words.of_train(cursor.positional), runs_dir)
        yield from (Candidate(f"{before}{comma}{key.text.rstrip('=')}", key.about) for key in keys)

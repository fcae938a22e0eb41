"""A command line up to the cursor, and what may stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bnexp import metrics
from bnexp.completion import keys as words
from bnexp.completion import places, verbs
from bnexp.completion.candidate import Candidate
from bnexp.completion.verbs import Place

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
    here = verbs.place(root, before)
    if here is None:
        return []
    found = {candidate.text: candidate for candidate in _all(here, current)}
    return [candidate for text, candidate in found.items() if text.startswith(current)]


def _all(here: Place, current: str) -> Iterator[Candidate]:
    if here.option is not None:
        yield from _option_values(here, here.option, current)
    elif current.startswith("-") and not here.dashes_are_words:
        name, equals, value = current.partition("=")
        option = verbs.option(here, name) if equals else None
        if option is not None:
            found = _option_values(here, option, value)
            yield from (Candidate(f"{name}={each.text}", each.about) for each in found)
        else:
            yield from verbs.option_names(here)
    else:
        yield from verbs.commands(here)
        here = here.unnamed
        if here.argument is not None:
            yield from _argument(here, here.argument.metavar or "", current)


def _argument(here: Place, metavar: str, current: str) -> Iterator[Candidate]:
    """Give what an argument may be, as its metavar says: RUN, SWEEP, FILTER (of runs) or KEY=VALUE."""
    runs_dir = Path(here.options.get("runs_dir", "runs"))
    if "FILTER" in metavar:
        vocabulary = words.of_filters(here.positional, runs_dir)
        yield from words.candidates(current, vocabulary, runs_dir)
        yield from places.experiments(runs_dir)
    elif "=" in metavar:
        vocabulary = VOCABULARIES.get(here.verb, words.of_train)(here.positional)
        yield from words.candidates(current, vocabulary, runs_dir)
    if "FILTER" in metavar or "SWEEP" in metavar:
        yield from places.sweeps(runs_dir)
    if "RUN" in metavar or metavar in ("A", "B"):
        yield from places.runs(current, runs_dir)
        yield from places.paths(current, only_folders=True) if current else ()


def _option_values(here: Place, option: Any, current: str) -> Iterator[Candidate]:
    runs_dir, metavar = Path(here.options.get("runs_dir", "runs")), option.metavar or ""
    if listed := ALTERNATIVES.fullmatch(metavar):
        yield from (Candidate(value) for value in listed[1].split("|"))
    elif option.name in PATH_OPTIONS or metavar == "FILE":
        yield from places.paths(current, only_folders=option.name == "runs_dir")
    elif metavar == "TAG":
        yield from (Candidate(tag, metrics.of(tag).about) for tag in metrics.comparable())
    elif metavar == "KEY=VALUE":
        vocabulary = words.of_filters(here.positional, runs_dir)
        yield from words.candidates(current, vocabulary, runs_dir)
    elif metavar == "KEY,KEY":
        before, comma, last = current.rpartition(",")
        keys = words.candidates(last, words.of_train(here.positional), runs_dir)
        yield from (Candidate(f"{before}{comma}{key.text.rstrip('=')}", key.about) for key in keys)

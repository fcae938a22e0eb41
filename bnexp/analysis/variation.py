"""The knobs in which runs differ, and runs crossed over two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from bnexp.analysis.groups import measured
from bnexp.analysis.naming import differing, facts, title
from bnexp.analysis.records import ABSENT, Record
from bnexp.analysis.statistics import Estimate, estimate
from bnexp.shorthand import SHORTHANDS

SEED = "seed"


@dataclass(frozen=True)
class Knob:
    """A choice that the runs do not share, without the seed.

    key: as `facts` has it; values: distinct ones, numbers rising, others as they first appear.
    """

    key: str
    values: tuple[Any, ...]

    @property
    def title(self) -> str:
        return title(self.key)

    @property
    def is_numeric(self) -> bool:
        """Whether there are two numbers at least to draw against."""
        numbers = [one for one in self.values if isinstance(one, (int, float)) and not isinstance(one, bool)]
        return len(numbers) > 1


@dataclass(frozen=True)
class Crossing:
    """What runs with one value of each of two knobs have of a metric; None where no run has it."""

    runs: int
    diverged: int
    estimate: Estimate | None


@dataclass(frozen=True)
class Crossed:
    """A metric over two knobs: cells[i][j] has rows.values[i] and columns.values[j]."""

    rows: Knob
    columns: Knob
    tag: str
    cells: Sequence[Sequence[Crossing]]


def knobs(records: Sequence[Record]) -> list[Knob]:
    """Return the knobs in which the runs differ, those that people study first."""
    found = [facts(record.config) for record in records]
    return [
        Knob(key, _in_order([fact[key] for fact in found if key in fact]))
        for key in differing(found)
        if key != SEED
    ]


def two_swept(records: Sequence[Record]) -> tuple[Knob, Knob] | None:
    """Return the two knobs that are crossed most completely, the first ones of those; None without two.

    Each has at least two values, and every run has one. Momentum and eps also count where some norms have
    none: the pair's values are then those of the other runs.
    """
    found = [facts(record.config) for record in records]
    swept = [
        knob for knob in knobs(records) if knob.key in SHORTHANDS or all(knob.key in fact for fact in found)
    ]
    pairs = [_of_runs_with_both(pair, found) for pair in combinations(swept, 2)]
    pairs = [pair for pair in pairs if all(len(knob.values) > 1 for knob in pair)]
    return max(pairs, key=lambda pair: _filled(pair, found)) if pairs else None


def crossed(records: Sequence[Record], rows: Knob, columns: Knob, tag: str) -> Crossed:
    """Average a metric over all runs that share a value of each knob."""
    members: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        fact = facts(record.config)
        row, column = (repr(fact.get(knob.key, ABSENT)) for knob in (rows, columns))
        members.setdefault((row, column), []).append(record)
    cells = [
        [_cell(members.get((repr(row), repr(column)), []), tag) for column in columns.values]
        for row in rows.values
    ]
    return Crossed(rows, columns, tag, cells)


def _cell(records: Sequence[Record], tag: str) -> Crossing:
    values = [value for record in records if (value := measured(record, tag)) is not None]
    diverged = sum(record.status == "diverged" for record in records)
    return Crossing(len(records), diverged, estimate(values) if values else None)


def _with_both(pair: tuple[Knob, Knob], found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [fact for fact in found if all(knob.key in fact for knob in pair)]


def _of_runs_with_both(pair: tuple[Knob, Knob], found: Sequence[Mapping[str, Any]]) -> tuple[Knob, Knob]:
    runs = _with_both(pair, found)
    first, second = (Knob(knob.key, _in_order([fact[knob.key] for fact in runs])) for knob in pair)
    return first, second


def _filled(pair: tuple[Knob, Knob], found: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of combinations of two knobs that some run has."""
    first, second = pair
    seen = {(repr(fact[first.key]), repr(fact[second.key])) for fact in _with_both(pair, found)}
    return len(seen) / (len(first.values) * len(second.values))


def _in_order(values: Sequence[Any]) -> tuple[Any, ...]:
    distinct = list({repr(value): value for value in values}.values())
    numbers = [value for value in distinct if isinstance(value, (int, float)) and not isinstance(value, bool)]
    return (*sorted(numbers), *(value for value in distinct if value not in numbers))

"""Everything that a report says, before it is HTML, Markdown or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnexp.analysis.records import Record
from bnexp.display.comparison import Comparison
from bnexp.display.ending import when
from bnexp.report.picture import Picture
from bnexp.report.pictures import pictures
from bnexp.report.question import in_short, question
from bnexp.report.question import title as heading
from bnexp.report.reproduce import Circumstance, Command, circumstances, commands, commands_of_runs
from bnexp.runs.log import warnings


@dataclass(frozen=True)
class Warned:
    """A warning that fired, and in which configurations, with the number of runs of each."""

    text: str
    runs: int
    where: dict[str, int]


@dataclass(frozen=True)
class Divergence:
    """Where a run stopped being finite."""

    run: str
    configuration: str
    seed: Any
    text: str


@dataclass(frozen=True)
class Content:
    """A report; `own` is the command that makes it, `run_commands` those of `records`, one each."""

    title: str
    question: str
    in_short: list[str]
    comparison: Comparison
    divergences: list[Divergence]
    pictures: list[Picture]
    warnings: list[Warned]
    commands: list[Command]
    own: str
    circumstances: list[Circumstance]
    records: Sequence[Record]
    run_commands: list[str]


def collect(comparison: Comparison, *, title: str | None, own: str) -> Content:
    """Read and draw all that the groups of a comparison have to tell.

    Raises:
        CheckpointError: the rows of a run are damaged.
    """
    records = [record for group in comparison.groups for record in group.records]
    return Content(
        title=title or heading(records),
        question=question(records),
        in_short=in_short(comparison),
        comparison=comparison,
        divergences=divergences(comparison),
        pictures=pictures(comparison, records),
        warnings=fired(comparison),
        commands=commands(records),
        own=own,
        circumstances=circumstances(records),
        records=records,
        run_commands=commands_of_runs(records),
    )


def divergences(comparison: Comparison) -> list[Divergence]:
    """Return where each run that diverged did."""
    return [
        Divergence(record.name, group.name, record.config.get("seed"), _where(record))
        for group in comparison.groups
        for record in group.records
        if record.status == "diverged"
    ]


def fired(comparison: Comparison) -> list[Warned]:
    """Return the warnings of all runs, the most frequent first."""
    where: dict[str, dict[str, int]] = {}
    for group in comparison.groups:
        for record in group.records:
            for text in warnings(record.run):
                counts = where.setdefault(text, {})
                counts[group.name] = counts.get(group.name, 0) + 1
    found = [Warned(text, sum(counts.values()), counts) for text, counts in where.items()]
    return sorted(found, key=lambda warned: -warned.runs)


def _where(record: Record) -> str:
    told = record.result.get("diverged") or {}
    if told.get("origin"):
        return f"first not finite: {told['origin']}"
    if told.get("first_step") is None:
        return f"noticed after {record.result.get('step')} steps"
    return when(told["first_step"], told["last_step"])

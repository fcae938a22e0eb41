"""Everything that a report says, before it is HTML or Markdown; also as data for other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bnexp import metrics
from bnexp.analysis.groups import Group
from bnexp.analysis.records import Record
from bnexp.display.comparison import Comparison
from bnexp.display.comparison import data as comparison_data
from bnexp.figures.summaries import COSTS
from bnexp.report.pictures import Picture, pictures
from bnexp.report.question import in_short, question
from bnexp.report.question import title as heading
from bnexp.report.reproduce import Circumstance, Command, circumstances, commands, commands_of_runs
from bnexp.runs.log import warnings
from bnexp.statuses import when


@dataclass(frozen=True)
class Warned:
    """A warning that fired, and in which configurations, with the number of runs of each."""

    text: str
    runs: int
    where: dict[str, int]

    @property
    def places(self) -> str:
        """The configurations, in words."""
        return "; ".join(f"{name} ({count})" for name, count in self.where.items())


@dataclass(frozen=True)
class Diverged:
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
    divergences: list[Diverged]
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


def divergences(comparison: Comparison) -> list[Diverged]:
    """Return where each run that diverged did."""
    return [
        Diverged(record.name, group.name, record.config.get("seed"), _where(record))
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


Table = tuple[list[str], list[list[str]]]  # titles and rows


def diverged_table(content: Content) -> Table:
    """Return where each run stopped being finite."""
    rows = [[one.configuration, str(one.seed), one.text, one.run] for one in content.divergences]
    return ["configuration", "seed", "where", "run"], rows


def warnings_table(content: Content) -> Table:
    """Return the warnings that fired, how often and where."""
    return ["warning", "runs", "where"], [[one.text, str(one.runs), one.places] for one in content.warnings]


def runs_table(content: Content) -> Table:
    """Return every run with its metrics and its command."""
    tags = content.comparison.metrics
    headers = ["run", "status", *(metrics.of(tag).title for tag in tags), "command"]
    rows = [
        [record.name, record.status, *(_number(record.metric(tag), tag) for tag in tags), command]
        for record, command in zip(content.records, content.run_commands, strict=True)
    ]
    return headers, rows


def data(content: Content) -> dict[str, Any]:
    """Return what report.json holds; `groups` is what `bnexp compare --json` prints, with costs."""
    return {
        "title": content.title,
        "question": content.question,
        "in_short": content.in_short,
        "metrics": list(content.comparison.metrics),
        "groups": [
            row | {"cost": _costs(group)}
            for row, group in zip(comparison_data(content.comparison), content.comparison.groups, strict=True)
        ],
        "notes": list(content.comparison.notes),
        "diverged": [asdict(one) for one in content.divergences],
        "figures": [
            {"name": one.name, "heading": one.heading, "shown": one.svg is not None, "caption": one.caption}
            for one in content.pictures
        ],
        "warnings": [asdict(one) for one in content.warnings],
        "commands": [asdict(one) for one in content.commands],
        "command": content.own,
        "circumstances": {one.name: dict(one.values) for one in content.circumstances},
        "runs": _runs(content),
    }


def _where(record: Record) -> str:
    told = record.result.get("diverged") or {}
    if told.get("origin"):
        return f"first not finite: {told['origin']}"
    if told.get("first_step") is None:
        return f"noticed after {record.result.get('step')} steps"
    return when(told["first_step"], told["last_step"])


def _number(value: float | None, tag: str) -> str:
    return "-" if value is None else metrics.of(tag).text(value)


def _costs(group: Group) -> dict[str, Mapping[str, Any] | None]:
    found = {tag: group.estimate(tag) for tag in COSTS}
    return {tag: None if one is None else vars(one) for tag, one in found.items()}


def _runs(content: Content) -> list[dict[str, Any]]:
    return [
        {
            "path": str(record.run.path),
            "status": record.status,
            "seed": record.config.get("seed"),
            "config_hash": record.result.get("config_hash"),
            "command": command,
            **{tag: record.metric(tag) for tag in content.comparison.metrics},
        }
        for record, command in zip(content.records, content.run_commands, strict=True)
    ]

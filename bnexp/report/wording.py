"""Lines that the HTML and the Markdown of a report share."""

from __future__ import annotations

from collections.abc import Sequence

from bnexp import metrics
from bnexp.report.content import Content, Warned
from bnexp.report.question import runs
from bnexp.report.reproduce import Circumstance

SAME_BITS = (
    "On a CPU the same command at the same commit, versions and number of threads gives the same bits."
)


def where(warned: Warned) -> str:
    """Return the configurations in which a warning fired."""
    return "; ".join(f"{name} ({count})" for name, count in warned.where.items())


def circumstances_table(found: Sequence[Circumstance]) -> list[tuple[str, str, bool]]:
    """Return rows of name, values and whether they differ between runs; what all share stands together."""
    rows = []
    for part in dict.fromkeys(one.part for one in found):
        shared = [one for one in found if one.part == part and not one.differs]
        rows += [(part, ", ".join(f"{one.name} {next(iter(one.values))}" for one in shared), False)]
        rows += [(one.name, _counted(one), True) for one in found if one.part == part and one.differs]
    return [row for row in rows if row[1]]


def _counted(found: Circumstance) -> str:
    return "; ".join(f"{value} ({runs(count)})" for value, count in found.values.items())


def computed_alike(found: Sequence[Circumstance]) -> str:
    """Say whether all runs were computed alike, and what that is worth."""
    differ = [one.name for one in found if one.differs]
    told = (
        f"The runs differ in {', '.join(differ)}" if differ else "All runs share code, versions and machine"
    )
    on_cpu = any(one.name == "device" and set(one.values) == {"cpu"} for one in found)
    return f"{told}. {SAME_BITS if on_cpu else ''}".strip()


def runs_table(content: Content) -> tuple[list[str], list[list[str]]]:
    """Return titles and rows of the table of all runs."""
    tags = content.comparison.metrics
    headers = ["run", "status", *(metrics.of(tag).title for tag in tags), "command"]
    rows = [
        [record.name, record.status, *(_number(record.metric(tag), tag) for tag in tags), command]
        for record, command in zip(content.records, content.run_commands, strict=True)
    ]
    return headers, rows


def _number(value: float | None, tag: str) -> str:
    return "-" if value is None else metrics.of(tag).text(value)

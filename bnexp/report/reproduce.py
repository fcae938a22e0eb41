"""The commands that make runs again, and what they were computed with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnexp.analysis.records import Record
from bnexp.composition.expand import expand
from bnexp.errors import CheckpointError, ConfigError
from bnexp.report.question import runs
from bnexp.runs import sweeps
from bnexp.runs.directory import SWEEPS
from bnexp.runs.log import started_by
from bnexp.runs.sweeps import Sweep

UNKNOWN = "unknown"
SAME_BITS = (
    "On a CPU the same command at the same commit, versions and number of threads gives the same bits."
)
MACHINE = ("device", "cpu", "threads", "host", "platform")


@dataclass(frozen=True)
class Command:
    """A command line and what it makes."""

    text: str
    note: str


@dataclass(frozen=True)
class Circumstance:
    """One thing that a result depends on besides its configuration, with the number of runs of each value.

    part: code, versions or machine.
    """

    part: str
    name: str
    values: Mapping[str, int]

    @property
    def differs(self) -> bool:
        return len(self.values) > 1


def commands_of_runs(records: Sequence[Record]) -> list[str]:
    """Return for each run the command that makes this run alone."""
    jobs = _jobs(records)
    return [_own_command(record, jobs.get(record.run.path.resolve())) for record in records]


def commands(records: Sequence[Record]) -> list[Command]:
    """Return the fewest commands that make all runs: that of a sweep whole, else one for each run.

    A sweep's words make it whole where they alone expand to its jobs; with `--pair` they do not.
    """
    jobs = _jobs(records)
    shown = Counter(sweep.path for sweep, _ in jobs.values())
    recorded = {sweep.path: sweep for sweep, _ in jobs.values()}
    whole = {path: sweep for path, sweep in recorded.items() if _is_whole(sweep, shown[path])}
    found = [Command(sweep.whole_command(), _told(sweep, shown[path])) for path, sweep in whole.items()]
    for record, text in zip(records, commands_of_runs(records), strict=True):
        job = jobs.get(record.run.path.resolve())
        if job is None or job[0].path not in whole:
            found.append(Command(text, record.name))
    return found


def circumstances(records: Sequence[Record]) -> list[Circumstance]:
    """Return commit, versions and machine of the runs."""
    found = [_circumstances(record.result) for record in records]
    names = dict.fromkeys(name for one in found for name in one)
    return [Circumstance(*name, Counter(one.get(name, UNKNOWN) for one in found)) for name in names]


def circumstances_table(found: Sequence[Circumstance]) -> list[tuple[str, str, bool]]:
    """Return rows of name, values and whether they differ between runs; what all share stands together."""
    rows = []
    for part in dict.fromkeys(one.part for one in found):
        shared = [one for one in found if one.part == part and not one.differs]
        rows += [(part, ", ".join(f"{one.name} {next(iter(one.values))}" for one in shared), False)]
        rows += [(one.name, _counted(one), True) for one in found if one.part == part and one.differs]
    return [row for row in rows if row[1]]


def computed_alike(found: Sequence[Circumstance]) -> str:
    """Say whether all runs were computed alike, and what that is worth."""
    differ = [one.name for one in found if one.differs]
    told = (
        f"The runs differ in {', '.join(differ)}" if differ else "All runs share code, versions and machine"
    )
    on_cpu = any(one.name == "device" and set(one.values) == {"cpu"} for one in found)
    return f"{told}. {SAME_BITS if on_cpu else ''}".strip()


def _circumstances(result: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    commit, dirty = result.get("git_commit"), result.get("git_dirty")
    code = UNKNOWN if commit is None else f"{commit}{' with uncommitted changes' if dirty else ''}"
    versions = {("versions", name): _plain(found) for name, found in (result.get("versions") or {}).items()}
    machine = {("machine", name): _plain(result.get(name)) for name in MACHINE}
    return {("code", "git commit"): code, **versions, **machine}


def _plain(value: Any) -> str:
    return UNKNOWN if value is None else str(value)


def _jobs(records: Sequence[Record]) -> dict[Path, tuple[Sweep, int]]:
    """Return, by folder, the sweep that made a run and the number of its job."""
    found = {}
    for folder in dict.fromkeys(record.run.path.resolve().parent / SWEEPS for record in records):
        for path in sorted(folder.glob("*.json")):
            try:
                sweep = sweeps.read(path)
            except CheckpointError:
                continue
            found.update({run.path.resolve(): (sweep, job) for job, run in sweep.runs().items()})
    return {path: found[path] for record in records if (path := record.run.path.resolve()) in found}


def _own_command(record: Record, job: tuple[Sweep, int] | None) -> str:
    if job is not None:
        return job[0].command(job[1])
    return started_by(record.run) or str(record.result.get("command") or UNKNOWN)


def _is_whole(sweep: Sweep, shown: int) -> bool:
    """Whether the words alone make the sweep, and most of it is shown."""
    if 2 * shown <= len(sweep.jobs):
        return False
    try:
        expanded = expand(sweep.words)
    except ConfigError:
        return False
    recorded = [job.words for job in sweep.jobs] + [dropped.words for dropped in sweep.dropped]
    return sorted(expanded) == sorted(recorded)


def _told(sweep: Sweep, shown: int) -> str:
    every = "all of its" if shown == len(sweep.jobs) else f"{shown} of its"
    return f"sweep {sweep.name}: {every} {len(sweep.jobs)} runs are shown here"


def _counted(found: Circumstance) -> str:
    return "; ".join(f"{value} ({runs(count)})" for value, count in found.values.items())

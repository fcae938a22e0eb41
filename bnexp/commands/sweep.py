"""`bnexp train -m`: one run for each combination of values; gone on with where an earlier start left off."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bnexp.composition.words import rewrite
from bnexp.display.columns import wide_console
from bnexp.errors import ConfigError
from bnexp.runs import sweeps
from bnexp.runs.directory import ANSWERED
from bnexp.runs.index import answered
from bnexp.runs.sweeps import Sweep
from bnexp.sweeps import trials
from bnexp.sweeps.combine import Request, composed
from bnexp.sweeps.hydra_words import completed, is_hydra, sweeper
from bnexp.sweeps.warm import workers

PATIENCE_S = 8.0  # more than `bnexp.sweeps.job` gives a run whose launcher has died


@dataclass(frozen=True)
class Options:
    """How a sweep is to run; see `bnexp train --help`."""

    jobs: int | None = None
    needed: bool = False
    fail_fast: bool = False
    print_trials: bool = False
    trials: str | None = None
    pair: Sequence[str] = field(default_factory=list)


def sweep(words: Sequence[str], plugins: Sequence[str], options: Options) -> int:
    """Plan, launch and sum up; return the exit code: 1 where a job failed, 130 where a person stopped it.

    Raises:
        ConfigError: no job is left, or a word or an option is wrong; nothing has been started then.
    """
    own = [word for word in words if not is_hydra(word)]
    hydra_words = completed(words, options.jobs)
    if sweeper(hydra_words) is not None:
        return _search(own, plugins, hydra_words, options)
    rows = trials.read(Path(options.trials)) if options.trials else [[]]
    request = Request(own, plugins, rows, [pair.split(",") for pair in options.pair])
    with workers(None if options.print_trials else options.jobs):
        combined = composed(request)
        # Here and not above: torch takes longer than finding out that a word is misspelt.
        from bnexp.sweeps.launch import check
        from bnexp.sweeps.plan import plan

        check(hydra_words)
        planned = plan(request, combined)
        console = wide_console()
        if options.print_trials:
            _print_trials(console, planned, options.jobs or 1)
            return 0
        recorded = sweeps.read(planned.path) if planned.path.exists() else planned
        if recorded is planned:
            planned.write()
        return run(recorded, hydra_words, console, needed=options.needed, fail_fast=options.fail_fast)


def run(
    recorded: Sweep,
    hydra_words: Sequence[str],
    console: Console,
    *,
    needed: bool = False,
    fail_fast: bool = False,
) -> int:
    """Run the jobs of a recorded sweep that have no answer yet."""
    from bnexp.sweeps.follow import followed, stoppable
    from bnexp.sweeps.launch import launch

    console.print(f"sweep {recorded.name}: {len(recorded.jobs)} jobs", highlight=False)
    _tell_dropped(console, recorded)
    todo = [job for job, status in _settled(recorded).items() if status not in (*ANSWERED, "running")]
    if needed:
        known = answered(Path(yaml.safe_load(recorded.jobs[0].config)["runs_dir"]))
        skipped = [job for job in todo if recorded.jobs[job].config_hash in known]
        todo = [job for job in todo if job not in skipped]
        console.print(f"{len(skipped)} jobs are answered by runs that are there already", highlight=False)
    if not todo:
        console.print("nothing is left to do", highlight=False)
    else:
        recorded.stop_file.unlink(missing_ok=True)
        with stoppable(recorded), followed(recorded, todo, console):
            launch(recorded, todo, hydra_words, fail_fast=fail_fast)
    return _summed_up(recorded, console)


def _search(own: Sequence[str], plugins: Sequence[str], hydra_words: Sequence[str], options: Options) -> int:
    """Let another sweeper choose the jobs."""
    if options.needed or options.fail_fast or options.print_trials or options.trials or options.pair:
        raise ConfigError("another sweeper chooses its jobs itself: it takes --jobs and no other option")
    from bnexp.sweeps.search import search

    return _summed_up(search(rewrite(own), plugins, hydra_words), wide_console())


def _settled(recorded: Sweep) -> dict[int, str]:
    """Return how each job stands, once workers that have lost their launcher have saved their runs."""
    deadline = time.monotonic() + PATIENCE_S
    while "running" in (statuses := recorded.statuses()).values() and time.monotonic() < deadline:
        time.sleep(0.2)
    return statuses


def _print_trials(console: Console, planned: Sweep, workers: int) -> None:
    from bnexp.sweeps import estimate

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("job", "words", "seconds"):
        table.add_column(header, justify="left" if header == "words" else "right")
    seconds = estimate.seconds(planned)
    for job, expected in enumerate(seconds):
        table.add_row(str(job + 1), escape(planned.title(job)), f"{expected:.1f}")
    console.print(table)
    _tell_dropped(console, planned)
    total = estimate.readable(sum(seconds) / workers)
    console.print(f"{len(planned.jobs)} jobs, about {total} with {workers} at a time", highlight=False)


def _tell_dropped(console: Console, recorded: Sweep) -> None:
    for dropped in recorded.dropped:
        words = escape(" ".join(dropped.words))
        console.print(
            f"[yellow]dropped:[/] {words}: {escape(dropped.reason)}", highlight=False, soft_wrap=True
        )


def _summed_up(recorded: Sweep, console: Console) -> int:
    statuses, runs = recorded.statuses(), recorded.runs()
    failed = {event.job: event for event in recorded.events() if event.what == "failed"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("job", "words", "status", "test accuracy", "run"):
        table.add_column(header, justify="right" if header in ("job", "test accuracy") else "left")
    for job, status in statuses.items():
        result = (runs[job].read_result() or {}) if job in runs else {}
        accuracy = result.get("accuracy/test")
        status = "failed" if status == "waiting" and job in failed else status
        table.add_row(
            str(job + 1),
            escape(recorded.title(job)),
            f"[red]{status}[/]" if status == "failed" else status,
            "" if accuracy is None else f"{accuracy:.4f}",
            escape(str(runs[job].path.name)) if job in runs else "",
        )
        statuses[job] = status
    console.print(table)
    if "failed" in statuses.values():
        return 1
    stopped = recorded.stop_file.exists()
    recorded.stop_file.unlink(missing_ok=True)
    return 130 if stopped else 0

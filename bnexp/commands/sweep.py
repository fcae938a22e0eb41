"""`bnexp train -m`: one run for each combination of values; gone on with where an earlier start left off."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape

from bnexp import metrics
from bnexp.choices import LOADER
from bnexp.composition.words import rewrite
from bnexp.display import columns
from bnexp.display.columns import wide_console
from bnexp.errors import ConfigError
from bnexp.runs import sweeps
from bnexp.runs.directory import RunDirectory
from bnexp.runs.identity import config_hash
from bnexp.runs.lookup import answered
from bnexp.runs.reading import as_of_now
from bnexp.runs.sweeps import Sweep
from bnexp.statuses import ANSWERED, is_open
from bnexp.sweeps.combinations import Request, combinations
from bnexp.sweeps.follow import followed, stoppable
from bnexp.sweeps.gpus import number_of_gpus
from bnexp.sweeps.hydra_words import completed, is_hydra, sweeper
from bnexp.sweeps.launch import check, launch
from bnexp.sweeps.plan import Combination, build, plan
from bnexp.sweeps.pool import Each, in_this_process, workers
from bnexp.sweeps.trials import read_trials

PATIENCE_S = 8.0  # more than `bnexp.sweeps.worker` gives a run whose launcher has died


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is to run; see `bnexp train --help`."""

    jobs: int | None = None
    needed: bool = False
    fail_fast: bool = False
    print_trials: bool = False
    trials: str | None = None
    pair: Sequence[str] = field(default_factory=list)


def sweep(words: Sequence[str], plugins: Sequence[str], options: SweepOptions) -> int:
    """Plan, launch and sum up; return the exit code: 1 where a job failed, 130 where a person stopped it.

    Raises:
        ConfigError: no job is left, or a word or an option is wrong; nothing has been started then.
    """
    own = [word for word in words if not is_hydra(word)]
    hydra_words = completed(words, options.jobs)
    if sweeper(hydra_words) is not None:
        return _search(own, plugins, hydra_words, options)
    rows = read_trials(Path(options.trials).expanduser()) if options.trials else [[]]
    request = Request(own, plugins, rows, [pair.split(",") for pair in options.pair])
    with workers(None if options.print_trials else options.jobs) as each:
        combined = combinations(request)
        check(hydra_words)
        console = wide_console()
        with console.status(f"planning {len(combined)} combinations"):
            planned = plan(request, _build(combined, plugins, each))
        recorded = sweeps.read(planned.path) if planned.path.exists() else planned
        if options.print_trials:
            _print_trials(console, recorded, _open_jobs(recorded, options.needed)[0], options.jobs or 1)
            return 0
        if recorded is planned:
            planned.write()
        return run(recorded, hydra_words, console, options)


def _build(combined: list[list[str]], plugins: Sequence[str], each: Each) -> list[Combination]:
    """Build all combinations, in the workers if there are not several GPUs, of which each is to see one."""
    try:
        (gpus,) = each(number_of_gpus, [None])
        return (each if gpus < 2 else in_this_process)(partial(build, plugins=plugins), combined)
    except BrokenProcessPool as error:
        raise ConfigError(
            "a process died while it built a combination, perhaps for want of memory: take a smaller --jobs"
        ) from error


def run(recorded: Sweep, hydra_words: Sequence[str], console: Console, options: SweepOptions) -> int:
    """Run the jobs of a recorded sweep that have no answer yet."""
    console.print(f"sweep {recorded.name}: {len(recorded.jobs)} jobs", highlight=False)
    _say_what_was_dropped(console, recorded)
    todo, known = _open_jobs(recorded, options.needed)
    if options.needed:
        for job, found in known.items():
            recorded.add(job, "answered", found.path.resolve(), "answered by an earlier run")
        console.print(f"{len(known)} jobs are answered by runs that are there already", highlight=False)
    if not todo:
        console.print("nothing is left to do", highlight=False)
    else:
        recorded.stop_file.unlink(missing_ok=True)
        with stoppable(recorded), followed(recorded, todo, console):
            launch(recorded, todo, hydra_words, fail_fast=options.fail_fast)
    return _sum_up(recorded, console, options.jobs)


def _search(
    own: Sequence[str], plugins: Sequence[str], hydra_words: Sequence[str], options: SweepOptions
) -> int:
    """Let another sweeper choose the jobs."""
    if options.needed or options.fail_fast or options.print_trials or options.trials or options.pair:
        raise ConfigError("another sweeper chooses its jobs itself: it takes --jobs and no other option")
    from bnexp.sweeps.search import search

    with workers(options.jobs):
        found = search(rewrite(own), plugins, hydra_words)
    return _sum_up(found, wide_console())


def _settled(recorded: Sweep) -> dict[int, str]:
    """Return how each job stands, once workers that have lost their launcher have saved their runs."""
    deadline = time.monotonic() + PATIENCE_S
    while "running" in (statuses := recorded.statuses()).values() and time.monotonic() < deadline:
        time.sleep(0.2)
    return statuses


def _open_jobs(recorded: Sweep, needed: bool) -> tuple[list[int], dict[int, RunDirectory]]:
    """Return the jobs that have no answer yet, and, if asked, runs of others that answer the rest of them."""
    todo = [job for job, status in _settled(recorded).items() if is_open(status)]
    if not needed:
        return todo, {}
    configs = {job: yaml.load(recorded.jobs[job].config, Loader=LOADER) for job in todo}
    known = answered(Path(yaml.safe_load(recorded.jobs[0].config)["runs_dir"]))
    hashes = {job: config_hash(as_of_now(config)) for job, config in configs.items()}
    found = {job: known[hashes[job]] for job in todo if hashes[job] in known}
    return [job for job in todo if job not in found], found


def _print_trials(console: Console, recorded: Sweep, todo: Collection[int], at_a_time: int) -> None:
    from bnexp.sweeps import estimate

    seconds, statuses = estimate.seconds(recorded, todo), recorded.statuses()
    told = {job: "answered" if status != "running" else status for job, status in statuses.items()}
    told |= {job: f"{taken:.1f}" for job, taken in seconds.items()}
    rows = [[str(job + 1), text, recorded.title(job)] for job, text in told.items()]
    columns.show(console, ("job", "seconds", "words"), rows, right=(0, 1), narrow="names")
    _say_what_was_dropped(console, recorded)
    total = estimate.readable(sum(seconds.values()) / at_a_time)
    length = f"about {total} of training steps with {at_a_time} at a time"
    console.print(f"{len(todo)} jobs, {length}", highlight=False)


def _say_what_was_dropped(console: Console, recorded: Sweep) -> None:
    for dropped in recorded.dropped:
        words = escape(" ".join(dropped.words))
        console.print(
            f"[yellow]dropped:[/] {words}: {escape(dropped.reason)}", highlight=False, soft_wrap=True
        )


def _sum_up(recorded: Sweep, console: Console, jobs: int | None = None) -> int:
    statuses, runs = recorded.statuses(), recorded.runs()
    latest = {event.job: event.what for event in recorded.events()}
    metric = metrics.of("accuracy/test")
    rows: list[columns.Row] = []
    for job, status in statuses.items():
        result = (runs[job].read_result() or {}) if job in runs else {}
        value = result.get(metric.name)
        if status not in ANSWERED and latest.get(job) == "failed":
            statuses[job] = status = "failed"
        rows.append(
            [
                recorded.title(job),
                (status, "red" if status == "failed" else ""),
                "" if value is None else metric.text(value),
                columns.visible(runs[job].path.name) if job in runs else "",
            ]
        )
    headers = ("words", "status", metric.title, "run")
    columns.show(console, headers, rows, right=(2,), narrow="names")
    return _say_what_next(recorded, statuses, console, jobs)


def _say_what_next(recorded: Sweep, statuses: Mapping[int, str], console: Console, jobs: int | None) -> int:
    """Say how to go on, and return the exit code."""
    stopped = recorded.stop_file.exists()
    recorded.stop_file.unlink(missing_ok=True)
    left = sum(map(is_open, statuses.values()))
    at_a_time = f" --jobs {jobs}" if jobs else ""
    lines = [f"{left} of {len(statuses)} jobs are left; go on with: bnexp resume {recorded.name}{at_a_time}"]
    for line in lines if left else [f"bnexp {verb} {recorded.name}" for verb in ("compare", "report", "tb")]:
        console.print(line, highlight=False, soft_wrap=True)
    if stopped and "failed" not in statuses.values():
        return 130
    return 1 if left else 0

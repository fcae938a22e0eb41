"""What a person sees of a sweep while it runs, read from its record: it may run in any process, anywhere."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bnexp.runs.sweeps import ENDS, Event, Sweep

LOOK_S = 0.3


@contextmanager
def followed(sweep: Sweep, jobs: Sequence[int], console: Console) -> Iterator[None]:
    """Tell of each of `jobs` as it ends, and at a terminal how many are done, running and left."""
    done = threading.Event()
    with _progress(console) as progress:
        arguments = (sweep, jobs, len(sweep.events()), progress, done)
        thread = threading.Thread(target=_follow, args=arguments)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@contextmanager
def stoppable(sweep: Sweep) -> Iterator[None]:
    """On Ctrl-C or SIGTERM let running jobs save themselves and start no other; a second ends at once.

    Two within a fraction of a second are one: a shell and the terminal may both send it.

    Raises:
        KeyboardInterrupt: there was a second one.
    """
    asked: float | None = None
    insisted = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked, insisted
        if asked is None:
            asked = time.monotonic()
            sweep.stop_file.touch()
        elif time.monotonic() - asked > LOOK_S:
            insisted = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except RuntimeError as error:  # joblib's, whose workers are gone then
        if insisted:
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _progress(console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def _follow(sweep: Sweep, jobs: Sequence[int], seen: int, progress: Progress, done: threading.Event) -> None:
    task = progress.add_task("starting", total=len(jobs))
    running: set[int] = set()
    ended = failed = 0
    last_look = False
    while not last_look:
        last_look = done.wait(LOOK_S)
        events = sweep.events()
        for event in events[seen:]:
            (running.add if event.what == "started" else running.discard)(event.job)
            ended, failed = ended + (event.what in ENDS), failed + (event.what == "failed")
            if event.what != "started":
                progress.console.print(_line(sweep, event, ended, len(jobs)), soft_wrap=True)
        seen = len(events)
        told = f"{len(running)} running" + (f", [red]{failed} failed[/]" if failed else "")
        progress.update(task, completed=ended, description=told)


def _line(sweep: Sweep, event: Event, ended: int, total: int) -> str:
    told = f"[red]failed:[/] {escape(event.detail)}" if event.what == "failed" else escape(event.detail)
    where = f"  {Path(event.run).name}" if event.run else ""
    return f"{escape(f'[{ended}/{total}] {sweep.title(event.job)}')}  {told}{escape(where)}"

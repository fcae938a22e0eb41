"""What a run's log.txt says of how it was started and what it was warned of."""

from __future__ import annotations

import re

from bnexp import plain_files
from bnexp.runs.directory import RunDirectory

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<level>[A-Z]+) (?P<message>.*)")
STARTED = "started by "


def warnings(run: RunDirectory) -> list[str]:
    """Return the warnings that fired, each once, though a resumed run repeats them; none without a log."""
    return list(dict.fromkeys(message for level, message in _lines(run) if level == "WARNING"))


def started_by(run: RunDirectory) -> str | None:
    """Return the command that began the run, also of one that was resumed; None where no line says so."""
    begun = (message for _, message in _lines(run) if message.startswith(STARTED))
    return next(begun, "").removeprefix(STARTED) or None


def _lines(run: RunDirectory) -> list[tuple[str, str]]:
    """Return level and message of each line that begins an entry."""
    try:
        text = plain_files.read_bytes(run.log_file).decode(errors="replace")
    except OSError:
        return []
    return [(found["level"], found["message"]) for line in text.splitlines() if (found := LINE.match(line))]

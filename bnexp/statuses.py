"""How a run can stand, what everyone makes of it, and what else can be asked of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["finished", "stopped_early", "diverged", "interrupted", "failed"]  # how a run ends


@dataclass(frozen=True)
class Standing:
    """What follows from a status.

    answers: the run has answered its question and is not trained again; resumable: `bnexp resume` goes on
    with it; color: on a terminal; board: how TensorBoard calls it, None while it has no end there.
    """

    color: str
    answers: bool = False
    resumable: bool = False
    board: str | None = None


STATUSES: Mapping[str, Standing] = {
    "finished": Standing("green", answers=True, board="STATUS_SUCCESS"),
    "stopped_early": Standing("green", answers=True, board="STATUS_SUCCESS"),
    "diverged": Standing("yellow", answers=True, board="STATUS_FAILURE"),
    "interrupted": Standing("yellow", resumable=True),
    "failed": Standing("red", resumable=True, board="STATUS_FAILURE"),
    "running": Standing("cyan"),
    "broken": Standing("red"),  # its files cannot be read
}
# What filters ask of a run besides its configuration and its metrics.
OWN_KEYS = ("status", "name", "experiment", "age", "started", "sweep")
ANSWERED = tuple(name for name, standing in STATUSES.items() if standing.answers)
RESUMABLE = tuple(name for name, standing in STATUSES.items() if standing.resumable)


def is_open(status: str) -> bool:
    """Whether something is left to do for a job of a sweep whose run has this status, or `waiting`."""
    return status not in (*ANSWERED, "running")


def color(status: str) -> str:
    """Return the colour of a status on a terminal; none for words that are no status of a run."""
    return STATUSES[status].color if status in STATUSES else ""


def divergence(found: Mapping[str, Any]) -> str:
    """Return what stopped being finite first, and when that came to light, as `Divergence` holds it."""
    first, last, origin = (found.get(key) for key in ("first_step", "last_step", "origin"))
    if origin is None:
        return f"something stopped being finite {when(first, last)}"
    noticed = f", noticed at step {last}" if last != first else ""
    return f"the first to stop being finite was {origin}{noticed}"


def when(first: Any, last: Any) -> str:
    """Return between which steps something happened."""
    return f"at step {first}" if first == last else f"between steps {first} and {last}"

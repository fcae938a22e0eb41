"""How a run can stand, and what everyone makes of it: this table is the only list of statuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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
ANSWERED = tuple(name for name, standing in STATUSES.items() if standing.answers)
RESUMABLE = tuple(name for name, standing in STATUSES.items() if standing.resumable)


def is_open(status: str) -> bool:
    """Whether something is left to do for a job of a sweep whose run has this status, or `waiting`."""
    return status not in (*ANSWERED, "running")


def color(status: str) -> str:
    """Return the colour of a status on a terminal; none for words that are no status of a run."""
    return STATUSES[status].color if status in STATUSES else ""

"""One figure of a report with its caption, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bnexp.errors import CheckpointError, ConfigError
from bnexp.figures.style import svg
from bnexp.figures.subjects import Drawing
from bnexp.report import captions


@dataclass(frozen=True)
class Picture:
    """A figure as SVG text, None where `caption` says why it is missing.

    name: as in a file's name; heading: of its section, which figures that follow each other may share.
    """

    name: str
    heading: str
    svg: str | None
    caption: str


@dataclass(frozen=True)
class Plan:
    """A figure to be drawn: `draw` gives it with the sentences of its caption."""

    name: str
    heading: str
    draw: Callable[[], tuple[Drawing, list[str]]]


def picture(plan: Plan) -> Picture:
    """Draw a figure; what there is nothing of to show is said, and no error."""
    try:
        drawing, caption = plan.draw()
    except (ConfigError, CheckpointError) as error:
        return Picture(plan.name, plan.heading, None, f"Not shown: {'; '.join(str(error).splitlines())}.")
    notes = [f"{note[0].upper()}{note[1:]}." for note in drawing.notes]
    return Picture(plan.name, plan.heading, svg(drawing.figure), " ".join(filter(None, [*caption, *notes])))


def shares(chosen: Sequence[int], total: int, tag: str) -> list[str]:
    """Return the sentence that says which of many configurations are shown, if not all are."""
    return [captions.some(len(chosen), total, tag)] if len(chosen) < total else []

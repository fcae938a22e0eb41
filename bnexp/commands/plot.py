"""`bnexp plot`: a figure of one run or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bnexp import metrics
from bnexp.analysis.query import is_filter, select
from bnexp.analysis.records import Record
from bnexp.analysis.variation import knobs
from bnexp.errors import CheckpointError, ConfigError, suggestion
from bnexp.figures.catalog import FIGURES, OF_A_KNOB, write_figure, write_metric
from bnexp.statuses import ANSWERED

DRAWN = ("accuracy/test", "loss/test")  # what nobody asked for by --y


@dataclass(frozen=True)
class Against:
    """What `--what metric` draws against which knob, a line for each value of `by` if that is given."""

    x: str | None = None
    y: str | None = None
    by: str | None = None


def plot(
    references: Sequence[str],
    *,
    what: str,
    output: str | None,
    runs_dir: str,
    layers: Sequence[str],
    against: Against,
) -> None:
    """Draw `what` of the runs that are meant into a file and print its path.

    Args:
        references: as `bnexp.analysis.query.select` reads them; the runs of filters alone are drawn oldest
            first.
        output: the file; its ending (.png, .svg, .pdf) is its format. None is WHAT.png in the current folder.
        layers: patterns of layer names; none draws a few, evenly spaced.
    Raises:
        ConfigError: an unknown figure or ending, or nothing to draw.
        CheckpointError: no such run, or a damaged one.
    """
    if what not in FIGURES:
        raise ConfigError(f"--what must be one of {', '.join(FIGURES)}, got {what!r}")
    records = _meant(references, Path(runs_dir))
    path = Path(output or f"{what}.png").expanduser()
    if what == OF_A_KNOB:
        notes = _of_a_knob(records, path, against)
    else:
        if against != Against():
            raise ConfigError("--x, --y and --by belong to --what metric")
        notes = write_figure(what, [record.run for record in records], path, layers)
    for note in notes:
        print(f"note: {note}")
    print(path)


def _of_a_knob(records: Sequence[Record], path: Path, against: Against) -> list[str]:
    answered = [record for record in records if record.status in ANSWERED]
    if not answered:
        raise CheckpointError("--what metric needs finished runs")
    swept = [knob.title for knob in knobs(answered) if knob.is_numeric]
    if against.x is None and len(swept) != 1:
        told = f"one of {', '.join(swept)}" if swept else "a knob in which these runs differ by numbers"
        raise ConfigError(f"--what metric needs --x KEY: {told}")
    tags = against.y.split(",") if against.y else list(DRAWN)
    if unknown := [tag for tag in tags if not metrics.is_known(tag)]:
        near = suggestion(unknown[0], metrics.comparable())
        raise ConfigError(f"--y {unknown[0]}: no such metric{near}")
    notes = write_metric(answered, path, against.x or swept[0], tags, against.by)
    left = len(records) - len(answered)
    runs = "1 run that has" if left == 1 else f"{left} runs that have"
    return notes + ([f"{runs} not ended left out"] if left else [])


def _meant(references: Sequence[str], root: Path) -> list[Record]:
    records = select(references, root)
    if all(is_filter(reference) for reference in references):
        records = [record for record in reversed(records) if record.problem is None]
    if not records:
        raise CheckpointError(f"no run matches {' '.join(references)}; see `bnexp runs`")
    return list(records)

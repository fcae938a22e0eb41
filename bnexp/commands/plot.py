"""`bnexp plot`: a figure of one run or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bnexp.analysis.query import is_filter, select
from bnexp.errors import CheckpointError, ConfigError
from bnexp.figures.catalog import FIGURES, write_figure
from bnexp.runs.directory import RunDirectory


def plot(
    references: Sequence[str], *, what: str, output: str | None, runs_dir: str, layers: Sequence[str]
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
    directories = _meant(references, Path(runs_dir))
    path = Path(output or f"{what}.png")
    for note in write_figure(what, directories, path, layers):
        print(f"note: {note}")
    print(path)


def _meant(references: Sequence[str], root: Path) -> list[RunDirectory]:
    records = select(references, root)
    if all(is_filter(reference) for reference in references):
        records = [record for record in reversed(records) if record.problem is None]
    if not records:
        raise CheckpointError(f"no run matches {' '.join(references)}; see `bnexp runs`")
    return [record.run for record in records]

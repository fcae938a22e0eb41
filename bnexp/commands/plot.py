"""`bnexp plot`: a figure of one run or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bnexp.errors import ConfigError
from bnexp.runs.directory import find, open_run

WHATS = ("loss", "activations", "gradients", "running_stats", "percentiles")


def plot(
    references: Sequence[str], *, what: str, output: str | None, runs_dir: str, layers: Sequence[str]
) -> None:
    """Draw `what` of the runs that are meant into a file and print its path.

    Args:
        references: as `bnexp.runs.directory.find` reads them.
        output: the file; its ending (.png, .svg, .pdf) is its format. None is WHAT.png in the current folder.
        layers: patterns of layer names; none draws a few, evenly spaced.
    Raises:
        ConfigError: an unknown figure or ending, or nothing to draw.
        CheckpointError: no such run, or a damaged one.
    """
    if what not in WHATS:
        raise ConfigError(f"--what must be one of {', '.join(WHATS)}, got {what!r}")
    directories = [open_run(find(reference, Path(runs_dir))) for reference in references]
    # Here and not above: matplotlib takes longer than finding out that a run does not exist.
    from bnexp.figures.kinds import write_figure

    path = Path(output or f"{what}.png")
    for note in write_figure(what, directories, path, layers):
        print(f"note: {note}")
    print(path)

"""The folder that TensorBoard is shown: runs under readable names, and beside them their means over seeds."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bnexp.analysis import naming
from bnexp.analysis.averages import Average, averages
from bnexp.analysis.groups import grouped
from bnexp.analysis.records import Record
from bnexp.errors import CheckpointError
from bnexp.protocols import Measurement
from bnexp.runs.directory import STAMP
from bnexp.runs.events import read_knobs
from bnexp.runs.reading import read_metrics
from bnexp.statuses import ANSWERED
from bnexp.telemetry.custom_scalars import band, has_band, seeds_layout
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.hparams import Knobs, session_end, session_start

ALWAYS = ("choices.norm",)
LONGEST = 200  # bytes of a name, with what tells equal ones apart it fits any file system's 255
UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:]+")


@dataclass(frozen=True)
class Mean:
    """The mean over seeds, written as a run.

    curves: by tag; knobs: those that the runs share, for TensorBoard's run table.
    """

    name: str
    curves: Mapping[str, Average]
    knobs: Knobs


@contextmanager
def folder_of(records: Sequence[Record], means: Sequence[Mean] = ()) -> Iterator[Path]:
    """Give a temporary folder with just these runs, as links, and these means.

    Links, because with --logdir_spec TensorBoard loads a hundred times slower.
    """
    with tempfile.TemporaryDirectory(prefix="bnexp-tb-") as made:
        names = _names(records)
        for name, record in zip(names, records, strict=True):
            (Path(made) / name).symlink_to(record.run.path.resolve(), target_is_directory=True)
        for name, mean in zip(_apart([one.name for one in means], names), means, strict=True):
            _write(mean, Path(made) / name, _banded(means))
        yield Path(made)


def means_over_seeds(records: Sequence[Record]) -> tuple[list[Mean], list[str]]:
    """Return a mean for each group of two or more runs that differ in their seed alone, and notes.

    Only runs that ended with an answer count, and of several with one seed the newest. Those that diverged
    are no part of the mean; its name says how many there were.
    """
    ended = [record for record in records if record.status in ANSWERED]
    names = dict(zip(map(id, ended), _of_groups(ended), strict=True))
    means, notes = [], []
    for group in grouped(ended):
        runs = _one_a_seed(group.records)
        name = names[id(group.records[0])]
        kept = [run for run in runs if run.status != "diverged"]
        if len(kept) < 2:
            continue
        try:
            means.append(_mean(name, kept, diverged=len(runs) - len(kept)))
        except CheckpointError as error:
            notes.append(f"no mean of {name}: {error}")
    if not means and not notes:
        notes = ["no mean: it takes two runs that ended, did not diverge and differ in their seed alone"]
    return means, notes


def _of_groups(records: Sequence[Record]) -> list[str]:
    """Return what the runs' names say besides the seed."""
    return naming.names([{**record.config, "seed": None} for record in records], ALWAYS)


def _one_a_seed(records: Sequence[Record]) -> list[Record]:
    oldest_first = sorted(records, key=lambda record: record.started)
    return list({record.config.get("seed"): record for record in oldest_first}.values())


def _mean(name: str, records: Sequence[Record], *, diverged: int) -> Mean:
    suffix = f", {diverged} diverged" if diverged else ""
    curves = averages([read_metrics(record.run) for record in records])
    known = [read_knobs(record.run) for record in records]
    shared = {
        key: value
        for key, value in known[0].items()
        if key != "seed" and all(knobs.get(key) == value for knobs in known)
    }
    return Mean(f"{name}, mean of {len(records)}{suffix}", curves, shared)


def _banded(means: Sequence[Mean]) -> list[str]:
    return list(dict.fromkeys(tag for mean in means for tag in mean.curves if has_band(tag)))


def _write(mean: Mean, path: Path, banded: Sequence[str]) -> None:
    """Write the means under their runs' tags, and the edges of the bands under tags of their own."""
    rows: dict[int, dict[str, float]] = {}
    for tag, curve in mean.curves.items():
        for step, value, std in zip(curve.steps, curve.mean, curve.std, strict=True):
            row = rows.setdefault(int(step), {})
            row[tag] = value
            if has_band(tag):
                row |= zip(band(tag), (value - std, value + std), strict=True)
    path.mkdir()
    with closing(EventFile(path, start=0, flush_s=60)) as events:
        if mean.knobs:
            events.add(session_start(mean.knobs), 0)
        if banded:
            events.add(seeds_layout(banded), 0)
        for step in sorted(rows):
            events.write(step, Measurement(rows[step]))
        if mean.knobs:
            events.add(session_end("finished"), 0)


def _names(records: Sequence[Record]) -> list[str]:
    """Return what each run is called: what tells it from the others, or the name that its user gave it.

    Where that is not enough, the time stamp of its folder's name or its experiment follows.
    """
    called = naming.names([record.config for record in records], ALWAYS)
    stamps = [STAMP.search(record.name) for record in records]
    short = [
        name if stamp else record.name for name, stamp, record in zip(called, stamps, records, strict=True)
    ]
    total = Counter(map(str.casefold, short))
    long = [
        name if total[name.casefold()] == 1 else f"{name}, {stamp[0][1:] if stamp else record.experiment}"
        for name, stamp, record in zip(short, stamps, records, strict=True)
    ]
    return _apart(long)


def _apart(names: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Return the names as file names, each another; a slash would be a folder, also within a run's own."""
    used = set(map(str.casefold, taken))
    found = []
    for name in names:
        safe = UNSAFE.sub("-", name).encode()[:LONGEST].decode(errors="ignore").strip(" .") or "run"
        number, unique = 1, safe
        while unique.casefold() in used:
            number += 1
            unique = f"{safe} ({number})"
        used.add(unique.casefold())
        found.append(unique)
    return found

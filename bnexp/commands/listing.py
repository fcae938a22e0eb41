"""`bnexp runs`: what there is, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bnexp.analysis.query import nearest, select
from bnexp.analysis.records import Record
from bnexp.display import listing
from bnexp.display.columns import wide_console
from bnexp.display.export import Form, write


def runs(words: Sequence[str], *, runs_dir: str, form: Form, top: int | None = None) -> None:
    """Print the runs that `words` mean; see `bnexp.analysis.query.select`.

    Args:
        top: at most so many.
    Raises:
        CheckpointError, ConfigError: `words` cannot be understood.
    """
    records = select(words, Path(runs_dir))[:top]
    if form.wanted():
        write([row(record) for record in records], form)
    elif records:
        listing.show(wide_console(), records)
    else:
        hint = nearest(words, Path(runs_dir))
        print("no runs" + (f" match {' '.join(words)}{hint}" if words else f" under {runs_dir}"))


def row(record: Record) -> dict[str, Any]:
    """Return all that is known of a run, for other programs."""
    result = {key: value for key, value in record.result.items() if key not in ("config", "status")}
    return {
        "name": record.name,
        "experiment": record.experiment,
        "path": str(record.run.path),
        "status": record.status,
        "started": datetime.fromtimestamp(record.started).isoformat(timespec="seconds"),
        "problem": record.problem,
        "config": record.config,
        "result": result,
    }

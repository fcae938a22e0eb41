"""`bnexp doctor`: a run examined before it is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from bnexp.composition.compose import compose
from bnexp.display import tables
from bnexp.display.columns import wide_console
from bnexp.experiment import run as experiment
from bnexp.preflight.course import row


def doctor(words: Sequence[str], plugins: Sequence[str], *, as_json: bool = False) -> None:
    """Print what each norm of the run that `words` describe will see, and what is known to go wrong.

    Raises:
        BnexpError: the run cannot be built, as with `bnexp train`.
    """
    with experiment.prepared(compose(words, plugins)) as ready:
        parts = ready.parts
        rows = [row(site, parts.course) for site in parts.sites]
        if as_json:
            found = {"course": asdict(parts.course), "norms": [asdict(each) for each in rows]}
            print(json.dumps(found | {"notes": ready.notes, "warnings": ready.warnings}, indent=2))
            return
        console = wide_console()
        tables.what_norms_see(console, parts.course, rows)
        tables.remarks(console, ready)
        if not ready.warnings:
            console.print("nothing is known to go wrong")

"""The nearest known name to a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean ...?)', or nothing where no known name is near.

    A name that differs only in its dotted front (`lr` for `optimizer.lr`) is near too.
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    near = near or [full for full in names if full.rpartition(".")[2] == name.rpartition(".")[2]]
    near = near or difflib.get_close_matches(name, {full.rpartition(".")[2]: full for full in names}, n=1)
    return f" (did you mean {near[0]}?)" if near else ""

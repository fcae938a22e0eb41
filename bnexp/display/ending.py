"""How a divergence is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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

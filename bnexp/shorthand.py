"""`momentum` and `eps` at the top of a configuration: shorthand for the knobs of the same name of its norms.

What a run is said to have, wherever it is recorded, listed, filtered or named, is what its norm has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHORTHANDS = ("momentum", "eps")
NORMS = ("norm", "head_norm")


def norm_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the momentum and eps of a run's norm, without a key for a knob that it has not.

    Where the head has another norm than the rest, the rest counts; the head's value is told only where the
    rest has no such knob, as with norm=none.

    Args:
        config: resolved; old runs' top-level values may be others, and are not looked at.
    """
    nodes = [node for norm in NORMS if isinstance(node := config.get(norm), Mapping)]
    found: dict[str, Any] = {}
    for name in SHORTHANDS:
        values = [node[name] for node in nodes if name in node]
        found |= {name: values[0]} if values else {}
    return found


def as_norms_have(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration whose top-level `momentum` and `eps` are what `norm_values` tells, or absent."""
    own = norm_values(config)
    kept = {key: value for key, value in config.items() if key not in SHORTHANDS or key in own}
    return {**kept, **own}

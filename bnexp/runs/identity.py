"""What a run is called, and which runs ask the same question."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bnexp.compatibility import without_later
from bnexp.config import KNOBS, ghost_batch
from bnexp.shorthand import SHORTHANDS

NO_NORM = "bnexp.norms.none.identity"  # the `_target_` of norm=none
ASIDE = tuple(key for key, knob in KNOBS.items() if knob.aside)
FOLDERS = tuple(key for key in ASIDE if KNOBS[key].holds == "path")
SOURCES = (*SHORTHANDS, "choices")  # words for what the nodes hold
NORM_OPTIONS = ("norm_batch", "guard", "freeze_norm")
NOTHING: Mapping[str, Any] = MappingProxyType({})
LONGEST = 120  # characters of a label: with time stamp and suffixes it fits any file system's 255


def config_hash(config: Mapping[str, Any]) -> str:
    """Return 16 hex digits that two configs share if they describe the same computation (SHA-256).

    Left out: folders, at any depth; telemetry; `threads`, which decides rounding alone; `momentum`, `eps` and
    the names of choices, which stand in the nodes that use them; `norm_batch`, `guard` and `freeze_norm`
    where they change nothing; `placement` pre or post where no node is a norm; knobs that came later, where
    they are as before. `head_norm` null is a copy of `norm`; 1.0 is 1.

    Args:
        config: the resolved config as plain dicts, lists and scalars.
    """
    config = without_later(config)
    left_out = (*ASIDE, *SOURCES, *NORM_OPTIONS)
    kept = {key: value for key, value in config.items() if key not in left_out} | norm_options(config)
    kept["head_norm"] = kept.get("head_norm") or kept["norm"]
    normalizes = _is_norm(kept["norm"]) or _is_norm(kept["head_norm"])
    if kept.get("placement") in ("pre", "post") and not normalizes:
        del kept["placement"]
    text = json.dumps(_canonical(kept), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def norm_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of NORM_OPTIONS that change what norms compute, with their values."""
    norm_batch, guard, freeze = (config.get(name) for name in NORM_OPTIONS)
    found: dict[str, Any] = {}
    if (ghosts := ghost_batch(norm_batch, config.get("batch_size", math.inf))) is not None:
        found["norm_batch"] = ghosts
    if guard not in (None, "none"):
        found["guard"] = guard
    if freeze is not None and freeze.get("after") is not None:
        found["freeze_norm"] = freeze
    return found


def label(
    choices: Mapping[str, str | None], *, batch_size: int, seed: int, options: Mapping[str, Any] = NOTHING
) -> str:
    """Return a run's readable label, such as `custom-b64-nb8-lenet-digits-s0`.

    Args:
        choices: the option that each config group took; `head_norm` shows only where it differs from `norm`,
            `convention` where it is not torch.
        options: what `norm_options` returns.
    """
    norm, head, convention = (choices.get(group) for group in ("norm", "head_norm", "convention"))
    freeze = options.get("freeze_norm")
    parts = [
        norm,
        f"head-{head}" if head not in (None, "null", norm) else None,
        convention if convention != "torch" else None,
        f"b{batch_size}",
        f"nb{options['norm_batch']}" if "norm_batch" in options else None,
        f"guard-{options['guard']}" if "guard" in options else None,
        f"freeze-{freeze['what']}-{freeze['after']}" if freeze else None,
        choices.get("model"),
        choices.get("data"),
        f"s{seed}",
    ]
    return slug("-".join(part for part in parts if part))


def slug(text: str) -> str:
    """Return `text` as one safe file name: letters, digits and . _ + - only, not hidden, not empty."""
    return re.sub(r"[^A-Za-z0-9._+]+", "-", text)[:LONGEST].strip(".-") or "run"


def apart_from_folders(config: Mapping[str, Any]) -> Any:
    """Return a configuration as plain values without folders, at any depth; 1.0 is 1."""
    return _canonical(config)


def _is_norm(node: Any) -> bool:
    return node is not None and node.get("_target_") != NO_NORM


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items() if key not in FOLDERS}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value

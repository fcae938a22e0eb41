"""Named random streams: every draw comes from a generator seeded by the run's seed and a name.

Streams that depend on a name alone do not notice what else the network holds, so a change of norm
changes neither the data order nor the initial weights that two networks share.
"""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """Return the 63-bit seed of the stream `names` under the run's `seed` (SHA-256, stable everywhere)."""
    key = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator at the beginning of the stream `names`."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, *names))

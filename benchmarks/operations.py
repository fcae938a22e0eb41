"""Where the time of norms goes that take longer than norm=custom: the operations of a pass, and the dearest.

Counted over 100 forward and backward passes on one CPU thread; microseconds are each operation's own.
"""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from bnexp.composition.compose import compose
from bnexp.experiment.pieces import make
from bnexp.norms.contract.traits import bind
from bnexp.protocols import Scheduled

CASES = [
    *((name, (128, 120)) for name in ("custom", "renorm", "noisy", "running")),
    *((name, (64, 6, 28, 28)) for name in ("custom", "evonorm_b0")),
]
PASSES = 100


def operations(norm: str, shape: tuple[int, ...]) -> str:
    """Return a line on the operations of one pass."""
    layer = bind(make(compose([f"norm={norm}"]).config.norm))(shape[1], shape[2:])
    if isinstance(layer, Scheduled):
        layer.set_total_steps(10**6)
    x, dy = torch.randn(shape, requires_grad=True), torch.randn(shape)
    for _ in range(PASSES):
        torch.autograd.backward(layer(x), dy)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(PASSES):
            torch.autograd.backward(layer(x), dy)
    found = [event for event in seen.key_averages() if event.key.startswith("aten::")]
    found.sort(key=lambda event: -event.self_cpu_time_total)
    count = sum(event.count for event in found) / PASSES
    spent = sum(event.self_cpu_time_total for event in found) / PASSES
    dearest = ", ".join(f"{each.key[6:]} {each.self_cpu_time_total / PASSES:.0f} us" for each in found[:4])
    return f"{norm} {shape}: {count:.0f} operations, {spent:.0f} us; {dearest}"


def main() -> None:
    torch.set_num_threads(1)
    for norm, shape in CASES:
        print(operations(norm, shape))


if __name__ == "__main__":
    main()

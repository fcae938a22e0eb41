"""What each process of a group does with its share of a batch; the tests compare with the whole batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from bnexp.norms.sync import SyncNorm
from bnexp.norms.sync_builtin import SyncBuiltinNorm

PROCESSES, CHANNELS, EPS = 3, 4, 0.5  # eps of the size of the variance, so that its place shows


@dataclass(frozen=True)
class Case:
    """Steps of training on batches of sum(sizes) examples, of which process r holds sizes[r]."""

    sizes: tuple[int, ...]
    spatial: tuple[int, ...] = ()
    steps: int = 1
    of_inputs: bool = True
    knobs: dict[str, Any] = field(default_factory=dict)
    memory_format: torch.memory_format = torch.contiguous_format

    def batch(self, seed: int) -> Tensor:
        return torch.randn(sum(self.sizes), CHANNELS, *self.spatial, generator=stream(seed)).double() * 3 + 2

    def part(self, whole: Tensor, rank: int) -> Tensor:
        part = whole.split(self.sizes)[rank]
        return part.contiguous(memory_format=self.memory_format)


CASES = {
    "unequal": Case((3, 1, 4)),
    "single examples": Case((1, 1, 1)),
    "two in all": Case((1, 0, 1)),
    "images, one process empty": Case((3, 0, 2), (2, 3)),
    "channels last": Case((2, 1, 3), (2, 3), memory_format=torch.channels_last),
    "volumes": Case((1, 2, 1), (2, 1, 2)),
    "several steps": Case((2, 3, 1), (3,), steps=4, knobs={"momentum": 0.3}),
    "cumulative": Case((1, 5, 0), steps=3, knobs={"momentum": None}),
    "plain": Case((3, 1, 4), knobs={"affine": False, "track_running_stats": False}),
    "inputs without gradient": Case((3, 1, 4), of_inputs=False),
}


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer(**knobs: Any) -> SyncNorm:
    """Return a float64 layer whose weight and bias all differ."""
    norm = SyncNorm(CHANNELS, (), **{"eps": EPS, **knobs}).double()
    with torch.no_grad():
        for number, parameter in enumerate(norm.parameters()):
            parameter.copy_(torch.randn(CHANNELS, generator=stream(90 + number)))
    return norm


def trained(case: Case, rank: int) -> dict[str, Any]:
    """Return outputs and gradients of the last step, and the buffers after it."""
    norm = layer(**case.knobs)
    for step in range(case.steps):
        norm.zero_grad()
        x = case.part(case.batch(step), rank).requires_grad_(case.of_inputs)
        y = norm(x)
        y.backward(case.part(case.batch(50 + step), rank))
    return {
        "y": y.detach(),
        "dx": x.grad,
        **{f"d{name}": parameter.grad for name, parameter in norm.named_parameters()},
        **dict(norm.named_buffers()),
    }


def refusal(norm: torch.nn.Module, x: Tensor) -> tuple[str, dict[str, Tensor]]:
    """Return the error that the batch meets, and the buffers after it."""
    try:
        norm(x)
    except ValueError as error:
        return f"{type(error).__name__}: {error}", dict(norm.named_buffers())
    return "", {}


def second_derivative() -> str:
    x = torch.ones(2, CHANNELS, dtype=torch.float64, requires_grad=True)
    (dx,) = torch.autograd.grad((layer()(x) ** 2).sum(), x, create_graph=True)
    try:
        dx.sum().backward()
    except RuntimeError as error:
        return str(error)
    return ""


def answers(rank: int) -> dict[str, Any]:
    whole = Case((1, 2, 1)).batch(7)
    return {
        **{name: trained(case, rank) for name, case in CASES.items()},
        "eval": layer().eval()(Case((1, 2, 1)).part(whole, rank)).detach(),
        "one value": refusal(layer(), torch.ones(1 if rank == 1 else 0, CHANNELS).double()),
        "nothing": trained(Case((0, 0, 0)), rank),
        "torch's on the CPU": refusal(SyncBuiltinNorm(CHANNELS, ()), torch.ones(4, CHANNELS)),
        "torch's on the CPU, eval": SyncBuiltinNorm(CHANNELS, ()).eval()(torch.ones(4, CHANNELS)).detach(),
        "twice": second_derivative(),
        "float16": layer(eps=1e-5).float()(Case((1, 2, 1)).part(whole, rank).half()).detach(),
    }


def run(rank: int, folder: str) -> None:
    """Join the group as process `rank` and leave the answers in `folder`."""
    torch.set_num_threads(1)
    store = distributed.FileStore(str(Path(folder) / "store"), PROCESSES)
    distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=PROCESSES, timeout=timedelta(minutes=10)
    )
    try:
        torch.save(answers(rank), Path(folder) / f"{rank}.pt")
    finally:
        distributed.destroy_process_group()

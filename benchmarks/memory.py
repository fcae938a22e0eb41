"""Bytes of a training step with fused units and without: kept between forward and backward, and at most.

Kept are the tensors that the forward pass made and that are alive when it has ended. The most is that of a
whole step, above what stood before it: on the CPU of tensors, on CUDA of the allocator, which sees what
kernels need too.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from alive import Alive
from processor import processor
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from bnexp.composition.compose import compose
from bnexp.experiment.pieces import make
from bnexp.models.blocks import Units
from bnexp.models.init import initialize
from bnexp.norms.contract.traits import bind

MODELS = {"lenet": ["model=lenet"], "resnet8": ["model=resnet", "model.depth=8"]}
IMAGE = (1, 28, 28)
MIB = 2**20


def network(model: str, norm: str, fused: bool, device: torch.device) -> nn.Module:
    """Return a network as `bnexp train` builds it."""
    config = compose([*MODELS[model], f"norm={norm}"]).config
    factory = bind(make(config.norm))
    units = Units(factory, factory, config.placement, config.activation, fused=fused)
    built: nn.Module = make(config.model)(image_shape=IMAGE, num_classes=10, units=units)
    initialize(built, make(config.init), 0)
    return built.to(device)


def kept(model: nn.Module, images: Tensor, targets: Tensor) -> int:
    """Return the bytes alive after a forward pass that were not before it; a first step settles the rest."""
    F.cross_entropy(model(images), targets).backward()
    with Alive() as alive:
        loss = F.cross_entropy(model(images), targets)
    assert loss.requires_grad
    return alive.bytes()


def peak(model: nn.Module, images: Tensor, targets: Tensor) -> int:
    """Return the most bytes of a step beyond those before it, which hold the gradients already."""
    F.cross_entropy(model(images), targets).backward()
    if images.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        F.cross_entropy(model(images), targets).backward()
        return torch.cuda.max_memory_allocated() - before
    with Alive() as alive:
        F.cross_entropy(model(images), targets).backward()
    return alive.most


def measure(model: str, norm: str, batch_size: int, device: torch.device) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, *IMAGE, generator=generator).to(device)
    targets = torch.randint(10, (batch_size,), generator=generator).to(device)
    found: dict[str, Any] = {"model": model, "batch_size": batch_size}
    for name, fused in (("plain", False), ("fused", True)):
        found[f"kept_{name}"] = kept(network(model, norm, fused, device), images, targets)
        found[f"peak_{name}"] = peak(network(model, norm, fused, device), images, targets)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--norm", default="custom")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    device = torch.device(options.device)
    rows = [measure(model, options.norm, size, device) for model in MODELS for size in (64, 512)]
    show(rows, options.norm, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    machine = {"device": name, "torch": torch.__version__, "python": platform.python_version()}
    record = {"machine": machine, "norm": options.norm, "bytes": rows}
    options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def show(rows: list[dict[str, Any]], norm: str, device: torch.device) -> None:
    kinds = {"kept": "kept", "peak": "at most"}
    table = Table(title=f"MiB of a training step on 28 x 28 images, norm={norm}, {device.type}")
    for header in (
        "model",
        "batch",
        *(f"{kind}, {arm}" for kind in kinds.values() for arm in ("plain", "fused", "share")),
    ):
        table.add_column(header, justify="right")
    for row in rows:
        cells = []
        for kind in kinds:
            plain, fused = row[f"{kind}_plain"], row[f"{kind}_fused"]
            cells += [f"{plain / MIB:.1f}", f"{fused / MIB:.1f}", f"{fused / plain:.2f}"]
        table.add_row(row["model"], str(row["batch_size"]), *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

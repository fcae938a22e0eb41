"""Small networks, and one training step of them under probes."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import torch
import torch.nn.functional as F

from bnexp.engine.rows import read
from bnexp.models.blocks import Units
from bnexp.models.lenet import LeNet
from bnexp.models.part_names import norm_places
from bnexp.models.resnet import ResNet
from bnexp.norms.builtin import batch_norm
from bnexp.norms.contract.traits import bind
from bnexp.norms.custom import CustomNorm
from bnexp.norms.none import identity
from bnexp.protocols import Batch

NORMS = {"custom": CustomNorm, "builtin": batch_norm, "none": identity}
NETWORKS = {"lenet": LeNet, "resnet": partial(ResNet, depth=8, width=4)}


def network(name="lenet", norm="custom", seed=0):
    torch.manual_seed(seed)
    factory = bind(NORMS[norm])
    units = Units(norm=factory, head_norm=factory, placement="pre", activation="sigmoid")
    return NETWORKS[name](image_shape=(1, 28, 28), num_classes=10, units=units).train()


def network_and_norms():
    model = network()
    return model, norm_places(model)


def images(size=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 1, 28, 28, generator=generator)
    return Batch(inputs, torch.randint(10, (size,), generator=generator))


def look(probes, model, *batches, step=0):
    """Return what `probes` measure in a step made of `batches`."""
    model.zero_grad()
    with ExitStack() as watching:
        for probe in probes:
            watching.enter_context(probe.watching(model, batches[0], step))
        for batch in batches:
            F.cross_entropy(model(batch.inputs), batch.targets).backward()
    return read([[reading for probe in probes for reading in probe.measure(model, step)]])[0]

"""The places of norms in a network, what stands there, and which would refuse to train."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bnexp.engine.evaluate import evaluation_mode
from bnexp.models.part_names import norm_places
from bnexp.norms.modifiers.freeze import Freezable
from bnexp.norms.modifiers.ghost import batches_measured
from bnexp.preflight.extent import Extent, extent

# norms of torch's that take their statistics from the batch; they declare no traits
TORCHS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class NormSite:
    """One place of a norm: `spatial` is () in a dense layer; `module` stands there.

    extents: those of norms that are written alike and stand in layers of one shape, shared by all places.
    """

    name: str
    module: nn.Module
    num_features: int
    spatial: tuple[int, ...]
    extents: dict[tuple[object, ...], Extent | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def kind(self) -> str:
        return "none" if isinstance(self.module, nn.Identity) else type(self.module).__name__

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.module.parameters())

    @property
    def uses_batch(self) -> bool:
        """Whether training normalizes by statistics over the batch; see `bnexp.protocols.NormFactory`."""
        return not self._frozen and any(_has(part, "batch_statistics") for part in self.module.modules())

    @property
    def is_batch_norm(self) -> bool:
        """Whether both mean and variance of each channel are the batch's."""
        return self.uses_batch and any(_has(part, "removes_channel_mean") for part in self.module.modules())

    @property
    def averages(self) -> bool:
        """Whether training moves running statistics."""
        return self._averaging is not None

    @property
    def momentum(self) -> float | None:
        """The weight of the new batch; None where all weigh alike, and where there is no running average."""
        momentum: float | None = getattr(self._averaging, "momentum", None)
        return momentum

    @property
    def _frozen(self) -> bool:
        """Whether its statistics are frozen from the first step on."""
        return isinstance(self.module, Freezable) and self.module.frozen

    @property
    def _averaging(self) -> nn.Module | None:
        for part in () if self._frozen else self.module.modules():
            buffers = [name for name, _ in part.named_buffers(recurse=False)]
            if hasattr(part, "momentum") and any(name.startswith("running_") for name in buffers):
                return part
        return None

    def batches(self, examples: int) -> list[int]:
        """Return the sizes of the batches that it measures one by one in a training pass of `examples`."""
        return batches_measured(self.module, examples)

    def values_per_channel(self, examples: int) -> int:
        """Return how many values a channel has in the smallest of these batches."""
        return min(self.batches(examples)) * math.prod(self.spatial)

    @property
    def extent(self) -> Extent | None:
        """What it measures over, None where it cannot be tried."""
        key = (type(self.module), repr(self.module), self.num_features, self.spatial)
        if key not in self.extents:
            self.extents[key] = extent(self.module, self.num_features, self.spatial)
        return self.extents[key]

    @property
    def over(self) -> str:
        """What it measures over in words, such as `batch x positions`; `-` where there is no norm."""
        if isinstance(self.module, nn.Identity):
            return "-"
        return "unknown" if self.extent is None else self.extent.words(self.spatial)

    def values(self, examples: int) -> int | None:
        """Return over how many values it measures, at the fewest, in a training pass of `examples`.

        None where it measures nothing but the value itself, or where that is not known.
        """
        return (self.extent and self.extent.count(min(self.batches(examples)), self.spatial)) or None


def _has(norm: nn.Module, trait: str) -> bool:
    return isinstance(norm, TORCHS) or bool(getattr(norm, trait, False))


def norm_sites(model: nn.Module, image_shape: tuple[int, int, int]) -> list[NormSite]:
    """Return the places of norms in the order of computation, seen by passing two blank images through."""
    sites: list[NormSite] = []
    extents: dict[tuple[object, ...], Extent | None] = {}

    def record(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            features, *spatial = inputs[0].shape[1:]
            sites.append(NormSite(name, module, features, tuple(spatial), extents))

        return hook

    norms = norm_places(model)
    handles = [norm.register_forward_pre_hook(record(name)) for name, norm in norms.items()]
    try:
        with evaluation_mode(model), torch.no_grad():
            model(torch.zeros(2, *image_shape, device=next(model.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return sites


def problems(sites: Sequence[NormSite], passes: Sequence[int]) -> list[str]:
    """Return a line where a norm refuses to train on the smallest of forward passes of so many examples.

    Each norm that would get one value per channel is tried on a copy, so that every norm answers for itself.
    """
    smallest = min(passes)
    refusing = [site for site in sites if site.values_per_channel(smallest) == 1 and _refuses(site, smallest)]
    if not refusing:
        return []
    names = ", ".join(site.name for site in refusing)
    cause, cure = f"a forward pass of {smallest} example gives", "batch_size=2 or more (and drop_last=auto)"
    if smallest > 1:
        cause, cure = "norm_batch=1 gives", "norm_batch=2 or more"
    return [
        f"{cause} {names} one value per channel, which has no variance to normalize by: use {cure}, "
        "head_norm=none or norm=group"
    ]


def substitutes(sites: Sequence[NormSite]) -> list[str]:
    """Return a line for each kind of layer that stands in for the chosen norm, with its places."""
    places: dict[str, list[str]] = {}
    for site in sites:
        note = getattr(site.module, "substitute_note", None)
        if note is not None:
            places.setdefault(note, []).append(site.name)
    return [f"{', '.join(names)}: {note}" for note, names in places.items()]


def _refuses(site: NormSite, examples: int) -> bool:
    trial = copy.deepcopy(site.module).train()
    device = next((parameter.device for parameter in trial.parameters()), torch.device("cpu"))
    try:
        trial(torch.zeros(examples, site.num_features, *site.spatial, device=device))
    except ValueError:
        return True
    return False

"""One norm at one place: its layers, batches, and what they must be compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bnexp.errors import ConfigError, ShapeError
from bnexp.norms.contract.promises import Promises, promises_of
from bnexp.parity.reference import TOTAL_STEPS, Formula, Itself, Reference, State, draws, generator, reseed
from bnexp.parity.tolerances import Finding, Inapplicable
from bnexp.protocols import Scheduled

CHANNELS = 8
# differences move a value by 2e-4 times a number drawn from a Gaussian
KINK_MARGIN = 5e-3
SMOOTH_BATCHES = 100
NO_TWIN = "torch has no layer of this kind"
REFUSALS = (RuntimeError, ValueError, IndexError)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Place:
    """Where a norm stands; sizes are small, because differences evaluate the layer for every element."""

    name: str
    examples: int
    spatial: tuple[int, ...]
    channels_last: torch.memory_format | None = None


DENSE, LINE = Place("dense", 6, ()), Place("1d", 4, (3,))
PLANE = Place("2d", 3, (3, 2), torch.channels_last)
SOLID = Place("3d", 2, (2, 1, 3), torch.channels_last_3d)
PLACES = (DENSE, LINE, PLANE, SOLID)


@dataclass(frozen=True)
class Subject:
    """A norm as a YAML describes it: what makes a layer, and the knobs it is made with."""

    name: str
    target: Callable[..., nn.Module]
    knobs: Mapping[str, Any]

    @property
    def promises(self) -> Promises | None:
        return promises_of(self.target)

    @property
    def measures_batches(self) -> bool:
        """Whether one value per channel is too few in training, for its output or for its averages."""
        return self.declares("batch_statistics") or "momentum" in self.knobs

    def declares(self, trait: str) -> bool:
        return bool(getattr(self.target, trait, False))


@dataclass(frozen=True)
class Specimen:
    """A subject at a place on a device; tensors are drawn on the CPU, so that devices get the same."""

    subject: Subject
    place: Place
    device: torch.device

    def fresh(self, dtype: torch.dtype = torch.float64, **knobs: Any) -> nn.Module:
        """Return a new layer as it starts.

        Raises:
            Inapplicable: the norm has no such knob, or refuses such a place.
        """
        lacking = [name for name in knobs if name not in self.subject.knobs]
        if lacking:
            raise Inapplicable(f"it has no knob {lacking[0]}")
        try:
            layer = self.subject.target(CHANNELS, self.place.spatial, **{**self.subject.knobs, **knobs})
        except (ConfigError, ShapeError) as error:
            raise Inapplicable(f"it refuses this place: {error}") from error
        return layer.to(self.device, dtype)

    def layer(
        self, *, training: bool = True, dtype: torch.dtype = torch.float64, seed: int = 0, **knobs: Any
    ) -> nn.Module:
        """Return a layer in the middle of training: all its parameters and buffers have moved."""
        layer = self.fresh(**knobs)
        with torch.no_grad():
            for number in range(2):
                layer(self.batch(seed + 90 + number))
            _spread(layer, seed)
        if isinstance(layer, Scheduled):
            layer.set_total_steps(TOTAL_STEPS)
        reseed(layer)
        return layer.to(dtype).train(training)

    def batch(
        self, seed: int = 0, *, dtype: torch.dtype = torch.float64, mean: float = 0.5, examples: int = 0
    ) -> Tensor:
        shape = (examples or self.place.examples, CHANNELS, *self.place.spatial)
        return (_randn(shape, seed) + mean).to(self.device, dtype)

    def smooth_batch(self, layer: nn.Module) -> Tensor:
        """Return a batch around which the formula has derivatives, as far as differences reach.

        Raises:
            Inapplicable: no such batch was drawn.
        """
        for number in range(SMOOTH_BATCHES):
            x = self.batch(1000 * number)
            formula = self.formula(layer, x) if self.subject.promises is not None else None
            if formula is None or formula.distance_to_kink(x) > KINK_MARGIN:
                return x
        raise Inapplicable("every batch lies on a kink of its formula")

    def twin(self, layer: nn.Module, **knobs: Any) -> nn.Module | None:
        """Return torch's layer with the state and mode of `layer`, None where there is none of its kind."""
        promises = self.subject.promises
        if promises is None or promises.torch_layer is None:
            return None
        if layer.training and not promises.torch_trains_alike:
            return None
        twin = promises.torch_layer(CHANNELS, self.place.spatial, {**self.subject.knobs, **knobs})
        if twin is None:
            return None
        dtypes = [value.dtype for value in layer.state_dict().values() if value.is_floating_point()]
        dtype = next(iter(dtypes), torch.float64)
        twin.to(self.device, dtype).load_state_dict(layer.state_dict())
        return twin.train(layer.training)

    def formula(self, layer: nn.Module, x: Tensor, **knobs: Any) -> Formula:
        """Return the formula of the layer as it stands, for inputs around x.

        Raises:
            Inapplicable: no formula is known for this norm.
        """
        promises = self.subject.promises
        if promises is None:
            raise Inapplicable("no formula is known for this norm")
        known = {**self.subject.knobs, **knobs}
        noise: tuple[Tensor, ...] = ()
        if promises.draw is not None and layer.training:
            wide = torch.promote_types(x.dtype, torch.float32)
            noise = promises.draw(tuple(x.shape), known, wide, generator(layer))
        return Formula(promises, _wide(layer), x.detach().double(), known, layer.training, noise)

    def reference(self, layer: nn.Module, x: Tensor) -> Reference:
        """Return the formula, or where none is known a copy of the layer itself in float64.

        Raises:
            Inapplicable: the layer draws, and would draw others in float64.
        """
        if self.subject.promises is not None:
            return self.formula(layer, x)
        if draws(layer) and x.dtype is not torch.float64:
            raise Inapplicable("no formula is known for this norm, which draws by type")
        return Itself(copy.deepcopy(layer).double())

    def cores(self) -> dict[str, dict[str, Any]]:
        """Return the knobs that choose each arithmetic of the layer, by a name for cases."""
        named = ("auto", "eager") if "core" in self.subject.knobs else ()
        return {f"core={core}": {"core": core} for core in named} or {"": {}}


Check = Callable[[Specimen], Iterator[Finding]]


def in_both_modes(check: Callable[[Specimen, bool], Iterator[Finding]]) -> Check:
    """Return the check done in training and in evaluation."""

    @wraps(check)
    def both(specimen: Specimen) -> Iterator[Finding]:
        for mode, training in {"train": True, "eval": False}.items():
            try:
                for found in check(specimen, training):
                    yield replace(found, case=f"{mode}, {found.case}" if found.case else mode)
            except Inapplicable as reason:
                yield Finding(mode, reason=str(reason))

    return both


def agreed(function: Callable[[nn.Module], Result], layer: nn.Module, twin: nn.Module | None) -> Result:
    """Return function(layer).

    Raises:
        Inapplicable: the layer refuses, and so does torch's own.
    """
    try:
        return function(layer)
    except REFUSALS:
        if twin is None:
            raise
        try:
            function(twin)
        except REFUSALS as error:
            raise Inapplicable(f"torch's own layer refuses too: {first_line(error)}") from error
        raise


def first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def own_stream() -> Iterator[None]:
    """Leave torch's global random streams as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


def _wide(layer: nn.Module) -> State:
    return {name: value.detach().clone().double() for name, value in layer.state_dict().items()}


def _spread(layer: nn.Module, seed: int) -> None:
    """Move parameters, and buffers of a known meaning, to values that all differ."""
    learned = {name for name, _ in layer.named_parameters()}
    for number, (name, value) in enumerate(layer.state_dict(keep_vars=True).items()):
        drawn = _randn(tuple(value.shape), 100 * (seed + 1) + number).to(value.device)
        own_name = name.rpartition(".")[2]
        if own_name in ("running_var", "running_std"):
            value.copy_(drawn.abs() + 0.5)
        elif name in learned or own_name in ("weight", "bias", "running_mean"):
            value.add_(0.3 * drawn)


def _randn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

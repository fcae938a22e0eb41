"""The composition root: a checked configuration becomes the parts of a run. Nothing else instantiates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn

from bnexp import config as schema
from bnexp.attempts import Attempts
from bnexp.config import SplitKnobs, TrainConfig
from bnexp.data.batches import EvalBatches, Pixels, TrainBatches
from bnexp.data.download import NotDownloaded, no_downloads
from bnexp.data.splits import Splits, split
from bnexp.engine.device import choose
from bnexp.engine.learner import Learner
from bnexp.engine.precision import Precision
from bnexp.errors import ConfigError
from bnexp.models.blocks import Units
from bnexp.models.dropout import seed_noise
from bnexp.models.effects import unit_notes
from bnexp.models.init import initialize
from bnexp.norms.effects import norm_notes
from bnexp.norms.freeze import Freeze, step_of
from bnexp.norms.ghost import ghost
from bnexp.norms.guard import guarded
from bnexp.norms.overlay import running_statistics
from bnexp.norms.traits import BoundNorm, bind
from bnexp.optimization.knobs import LARGEST
from bnexp.preflight.course import Course, course
from bnexp.preflight.sites import NormSite, norm_sites, problems, substitutes
from bnexp.preflight.warnings import Prospect, warnings
from bnexp.protocols import Dataset, Probe, Scheduled, Split
from bnexp.seeding import stream
from bnexp.telemetry import probes as telemetry
from bnexp.weights import load_weights, locate

TRAIN_EVAL_EXAMPLES = 10_000  # measuring more of the training split would tell little and cost an epoch


@dataclass(frozen=True)
class Parts:
    """Everything that one run trains and measures with."""

    device: torch.device
    splits: Splits
    pixels: Pixels
    learner: Learner
    schedule: Callable[[int], float]
    total_steps: int
    batches: TrainBatches
    train_eval: EvalBatches
    val: EvalBatches | None
    test: EvalBatches
    sites: list[NormSite]
    course: Course
    weights: Path | None
    notes: list[str]
    warnings: list[str]

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.learner.model.parameters())

    @property
    def total_examples(self) -> int:
        epochs, steps = divmod(self.total_steps, self.batches.steps_per_epoch)
        return epochs * self.batches.num_examples + sum(self.batches.examples(step) for step in range(steps))


def build(config: TrainConfig, known_problems: Sequence[str] = (), broken: Collection[str] = ()) -> Parts:
    """Build every part of the run that `config` describes.

    Args:
        known_problems: what is already known to be wrong; the parts are then tried, without downloading data
            for that, and nothing is returned.
        broken: the groups whose node cannot be built.
    Raises:
        ConfigError, DataError, CheckpointError: a part cannot be built; several mistakes are told together.
    """
    attempt = Attempts(known_problems)
    network_groups = {"norm", "head_norm", "model", "init"}
    device = attempt(choose, config.device)
    make_optimizer = None if "optimizer" in broken else make(config.optimizer)
    make_schedule = None if "schedule" in broken else make(config.schedule)
    attempt(_try_optimizer, make_optimizer)
    read = _dataset_at_hand if attempt.failed else _dataset
    dataset = None if "data" in broken else attempt(read, config)
    splits = attempt(_splits, config, dataset)
    model = None if network_groups & {*broken} else attempt(_network, config, dataset)
    sound = None if schema.problems(config) else True
    batches = attempt(_train_batches, config, splits, device, sound)
    total_steps = attempt(_total_steps, config, batches)
    schedule = attempt(_schedule, make_schedule, total_steps)
    attempt(_tell_length, model, total_steps, batches, config.batch_size)
    attempt(_last_lr, config, schedule, total_steps)
    freeze = attempt(_freeze, config, model, total_steps)
    sites = attempt(_checked_sites, model, dataset, batches)
    weights = attempt(locate, config.weights, Path(config.runs_dir))
    notes = (attempt(_notes, model, config) or []) + (attempt(load_weights, model, weights) or [])
    attempt.finish()
    assert device and splits and model and batches and total_steps and schedule and make_optimizer
    assert sites is not None
    notes += norm_notes(model, freeze, guard=config.guard, total_steps=total_steps)
    model.to(device)
    optimizer, planned = make_optimizer(model), _course(config, batches, total_steps)
    inputs = batches.group(0)[0].inputs
    found = warnings(Prospect(config, model, sites, planned, optimizer, inputs))
    pixels, held = batches.pixels, partial(_held, config, device, batches.pixels)
    return Parts(
        device=device,
        splits=splits,
        pixels=pixels,
        learner=_learner(config, model, optimizer, device, freeze),
        schedule=schedule,
        total_steps=total_steps,
        batches=batches,
        train_eval=held(_sample(splits.train, TRAIN_EVAL_EXAMPLES, config.seed)),
        val=held(splits.val) if splits.val is not None else None,
        test=held(splits.test),
        sites=sites,
        course=planned,
        weights=weights,
        notes=substitutes(sites) + notes,
        warnings=found,
    )


def probes(config: TrainConfig, parts: Parts) -> tuple[list[Probe], list[str]]:
    """Return what looks into the network of `parts` while it trains, and notes on what is left out.

    Raises:
        ConfigError: telemetry names layers or channels that the network does not have.
    """
    knobs = asdict(config.telemetry)
    del knobs["three_way_every"]  # a matter of evaluation, not of a step
    return telemetry.probes(
        parts.learner.model,
        total_steps=parts.total_steps,
        autocast=parts.learner.precision.autocast,
        **knobs,
    )


def make(node: dict[str, Any]) -> Callable[..., Any]:
    """Return the partial that `node` describes; knobs arrive as plain Python values."""
    bound: Callable[..., Any] = instantiate(node, _convert_="all")
    return bound


def _try_optimizer(make_optimizer: Callable[..., Any]) -> None:
    """Find mistakes in its knobs before a network is built."""
    make_optimizer(nn.Linear(1, 1))


def _dataset(config: TrainConfig) -> Dataset:
    return loaded(config.data["_target_"], json.dumps(_own(config.data)), config.data_dir)


def _dataset_at_hand(config: TrainConfig) -> Dataset | None:
    """Return the data set, None where it would have to be downloaded."""
    try:
        with no_downloads():
            return _dataset(config)
    except NotDownloaded:
        return None


@lru_cache(maxsize=1)
def loaded(target: str, knobs: str, data_dir: str) -> Dataset:
    """Return a data set, kept for the next run of a sweep."""
    dataset: Dataset = make(json.loads(knobs))(Path(data_dir))
    return dataset


def _own(node: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(SplitKnobs)}
    return {name: value for name, value in node.items() if name not in names}


def _splits(config: TrainConfig, dataset: Dataset) -> Splits:
    knobs = SplitKnobs(**{field.name: config.data[field.name] for field in fields(SplitKnobs)})
    if config.early_stopping.patience is not None and knobs.val_fraction == 0:
        raise ConfigError("early_stopping.patience needs a validation split, got data.val_fraction=0")
    if config.telemetry.three_way_every is not None and knobs.val_fraction == 0:
        raise ConfigError("telemetry.three_way_every needs a validation split, got data.val_fraction=0")
    return split(dataset, train_size=knobs.train_size, val_fraction=knobs.val_fraction, seed=config.seed)


def _network(config: TrainConfig, dataset: Dataset) -> nn.Module:
    units = Units(
        norm=_norm(config, config.norm),
        head_norm=_norm(config, config.head_norm),
        placement=config.placement,
        activation=config.activation,
        weight_standardization=config.weight_standardization,
        fused=config.fused,
    )
    network = make(config.model)
    with _memory_permitting():
        model: nn.Module = network(
            image_shape=dataset.image_shape, num_classes=len(dataset.classes), units=units
        )
    initialize(model, make(config.init), config.seed)
    return model


@contextmanager
def _memory_permitting() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not re.search("alloc|overflow", str(error)):
            raise
        raise ConfigError("the network must fit into memory: give it fewer or narrower layers") from error


def _norm(config: TrainConfig, node: dict[str, Any]) -> BoundNorm:
    factory = bind(make(node))
    if config.norm_batch < config.batch_size:
        factory = ghost(factory, config.norm_batch)
    return guarded(factory) if config.guard == "skip" else factory


def _train_batches(config: TrainConfig, splits: Splits, device: torch.device, sound: bool) -> TrainBatches:
    return TrainBatches(
        splits.train,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
        drop_last=config.drop_last,
        augment=config.data["augment"],
        seed=config.seed,
        device=device,
        pixels=Pixels(splits.train, device=device),
        channels_last=config.channels_last,
    )


def _total_steps(config: TrainConfig, batches: TrainBatches) -> int:
    return config.steps or (config.epochs or 0) * batches.steps_per_epoch


def _schedule(make_schedule: Callable[..., Any], total_steps: int) -> Callable[[int], float]:
    schedule: Callable[[int], float] = make_schedule(total_steps=total_steps)
    return schedule


def _tell_length(model: nn.Module, total_steps: int, batches: TrainBatches, batch_size: int) -> None:
    passes_per_epoch = -(-batches.num_examples // batch_size)
    for module in model.modules():
        if isinstance(module, Scheduled):
            module.set_total_steps(total_steps * passes_per_epoch // batches.steps_per_epoch)


def _last_lr(config: TrainConfig, schedule: Callable[[int], float], total_steps: int) -> None:
    """Refuse a schedule that grows beyond what an optimizer can compute with; one that grows ends highest."""
    lr, factor = config.optimizer.get("lr"), schedule(total_steps - 1)
    if isinstance(lr, (int, float)) and lr <= LARGEST < lr * factor:
        raise ConfigError(
            f"the learning rate must stay finite, also in float32: optimizer.lr={lr} times the schedule's "
            f"{factor:.4g} at the last step is not; take a smaller factor"
        )


def _freeze(config: TrainConfig, model: nn.Module, total_steps: int) -> Freeze | None:
    if config.freeze_norm.after is None:
        return None
    freeze = Freeze(model, after=step_of(config.freeze_norm.after, total_steps), what=config.freeze_norm.what)
    freeze(0)
    return freeze


def _notes(model: nn.Module, config: TrainConfig) -> list[str]:
    return unit_notes(
        model,
        weight_standardization=config.weight_standardization,
        fused=config.fused,
        compiled=config.compile,
    )


def _held(config: TrainConfig, device: torch.device, pixels: Pixels, held: Split) -> EvalBatches:
    return EvalBatches(
        held,
        batch_size=config.eval_batch_size,
        device=device,
        pixels=pixels,
        channels_last=config.channels_last,
    )


def _checked_sites(model: nn.Module, dataset: Dataset, batches: TrainBatches) -> list[NormSite]:
    """Return the places of norms; refuse a run in which one could not train on a batch of an epoch."""
    sites = norm_sites(model, dataset.image_shape)
    groups = batches.group(0) + batches.group(batches.steps_per_epoch - 1)
    if found := problems(sites, [len(batch) for batch in groups]):
        raise ConfigError(found)
    return sites


def _course(config: TrainConfig, batches: TrainBatches, total_steps: int) -> Course:
    return course(
        batches.num_examples,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
        steps=total_steps,
        norm_batch=getattr(config, "norm_batch", None),
    )


def _learner(
    config: TrainConfig,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    freeze: Freeze | None,
) -> Learner:
    """Finish the network in place: its optimizer already holds its parameters."""
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    precision = Precision(config.precision, device)
    streams = seed_noise(model, config.seed, device)
    if config.compile:
        model.compile()
    return Learner(
        model,
        optimizer,
        precision.scaler(),
        precision,
        streams,
        by_step=[freeze] if freeze is not None else [],
        watched=running_statistics(model) if config.guard == "stop" else [],
    )


def _sample(train: Split, size: int, seed: int) -> Split:
    """Return `size` examples of the training split, all of it where there are fewer."""
    if len(train) <= size:
        return train
    chosen = torch.randperm(len(train), generator=stream(seed, "train_eval"))[:size].to(train.labels.device)
    return Split(train.images[chosen], train.labels[chosen])

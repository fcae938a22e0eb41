"""Each part of a run, made from its configuration. Nothing else instantiates what a YAML names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import lru_cache
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn

from bnexp.choices import SplitKnobs
from bnexp.config import TrainConfig, ghost_batch
from bnexp.data import soundness
from bnexp.data.batches import EvalBatches, Pixels, TrainBatches
from bnexp.data.download import NotDownloaded, no_downloads
from bnexp.data.splits import Splits, split
from bnexp.engine.device import Precision
from bnexp.engine.learner import Learner
from bnexp.errors import ConfigError
from bnexp.knobs import LARGEST
from bnexp.models.blocks import Units
from bnexp.models.dropout import seed_noise
from bnexp.models.init import initialize
from bnexp.models.part_names import norm_places
from bnexp.models.unit import unit_notes
from bnexp.norms.contract.traits import BoundNorm, bind
from bnexp.norms.modifiers.freeze import Freeze, step_of
from bnexp.norms.modifiers.ghost import ghost
from bnexp.norms.modifiers.guard import guarded
from bnexp.norms.modifiers.overlay import running_statistics
from bnexp.preflight.course import Course, course
from bnexp.preflight.sites import NormSite, norm_sites, problems
from bnexp.protocols import Dataset, Scheduled, Split
from bnexp.seeding import stream


def make(node: dict[str, Any]) -> Callable[..., Any]:
    """Return the partial that `node` describes; knobs arrive as plain Python values."""
    bound: Callable[..., Any] = instantiate(node, _convert_="all")
    return bound


def try_optimizer(make_optimizer: Callable[..., Any]) -> None:
    """Find mistakes in its knobs before a network is built."""
    optimizer_of(make_optimizer, nn.Linear(1, 1))


def optimizer_of(make_optimizer: Callable[..., Any], model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of `model`; a user's own may ask for the network alone, without its norms."""
    positional = Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD
    parameters = signature(make_optimizer).parameters.values()
    asked = [p for p in parameters if p.default is p.empty and p.kind in positional]
    optimizer: torch.optim.Optimizer = make_optimizer(*(model, norm_places(model))[: len(asked)])
    return optimizer


def dataset(config: TrainConfig) -> Dataset:
    return loaded(json.dumps(_own(config.data)), config.data_dir)


def dataset_at_hand(config: TrainConfig) -> Dataset | None:
    """Return the data set, None where it would have to be downloaded."""
    try:
        with no_downloads():
            return dataset(config)
    except NotDownloaded:
        return None


@lru_cache(maxsize=1)
def loaded(node: str, data_dir: str) -> Dataset:
    """Return a data set with all that a user should know of it, kept for the next run of a sweep."""
    dataset: Dataset = make(json.loads(node))(Path(data_dir))
    return replace(dataset, warnings=(*dataset.warnings, *soundness.warnings(dataset)))


def _own(node: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(SplitKnobs)}
    return {name: value for name, value in node.items() if name not in names}


def splits_of(config: TrainConfig, dataset: Dataset) -> Splits:
    knobs = SplitKnobs(**{field.name: config.data[field.name] for field in fields(SplitKnobs)})
    if config.early_stopping.patience is not None and knobs.val_fraction == 0:
        raise ConfigError("early_stopping.patience needs a validation split, got data.val_fraction=0")
    if config.telemetry.three_way_every is not None and knobs.val_fraction == 0:
        raise ConfigError("telemetry.three_way_every needs a validation split, got data.val_fraction=0")
    return split(dataset, train_size=knobs.train_size, val_fraction=knobs.val_fraction, seed=config.seed)


def network(config: TrainConfig, dataset: Dataset) -> nn.Module:
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
    if (examples := ghost_batch(config.norm_batch, config.batch_size)) is not None:
        factory = ghost(factory, examples)
    return guarded(factory) if config.guard == "skip" else factory


def train_batches(config: TrainConfig, splits: Splits, device: torch.device, sound: bool) -> TrainBatches:
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


def total_steps(config: TrainConfig, batches: TrainBatches) -> int:
    return config.steps or (config.epochs or 0) * batches.steps_per_epoch


def schedule_of(make_schedule: Callable[..., Any], total_steps: int) -> Callable[[int], float]:
    schedule: Callable[[int], float] = make_schedule(total_steps=total_steps)
    return schedule


def tell_length(model: nn.Module, total_steps: int, batches: TrainBatches) -> None:
    for module in model.modules():
        if isinstance(module, Scheduled):
            module.set_total_steps(batches.epoch.passes_in(total_steps))


def check_last_lr(config: TrainConfig, schedule: Callable[[int], float], total_steps: int) -> None:
    """Refuse a schedule that grows beyond what an optimizer can compute with; one that grows ends highest."""
    lr, factor = config.optimizer.get("lr"), schedule(total_steps - 1)
    if isinstance(lr, (int, float)) and lr <= LARGEST < lr * factor:
        raise ConfigError(
            f"the learning rate must stay finite, also in float32: optimizer.lr={lr} times the schedule's "
            f"{factor:.4g} at the last step is not; take a smaller factor"
        )


def freezing(config: TrainConfig, model: nn.Module, total_steps: int) -> Freeze | None:
    if config.freeze_norm.after is None:
        return None
    after, norms = step_of(config.freeze_norm.after, total_steps), norm_places(model).values()
    freeze = Freeze(norms, after=after, what=config.freeze_norm.what)
    freeze(0)
    return freeze


def notes(model: nn.Module, config: TrainConfig) -> list[str]:
    return unit_notes(
        model,
        weight_standardization=config.weight_standardization,
        fused=config.fused,
        compiled=config.compile,
    )


def held_out(config: TrainConfig, device: torch.device, pixels: Pixels, held: Split) -> EvalBatches:
    return EvalBatches(
        held,
        batch_size=config.eval_batch_size,
        device=device,
        pixels=pixels,
        channels_last=config.channels_last,
    )


def checked_sites(model: nn.Module, dataset: Dataset, batches: TrainBatches) -> list[NormSite]:
    """Return the places of norms; refuse a run in which one could not train on a batch of an epoch."""
    sites = norm_sites(model, dataset.image_shape)
    if found := problems(sites, [batches.epoch.largest, batches.epoch.last]):
        raise ConfigError(found)
    return sites


def course_of(batches: TrainBatches, total_steps: int, freeze: Freeze | None) -> Course:
    frozen_from = freeze.after if freeze is not None and freeze.what != "affine" else None
    return course(batches.epoch, total_steps, frozen_from=frozen_from)


def learner(
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


def sample(train: Split, size: int, seed: int) -> Split:
    """Return `size` examples of the training split, all of it where there are fewer."""
    if len(train) <= size:
        return train
    chosen = torch.randperm(len(train), generator=stream(seed, "train_eval"))[:size].to(train.labels.device)
    return Split(train.images[chosen], train.labels[chosen])

"""The composition root: a checked configuration becomes the parts of a run. Nothing else instantiates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn

from bnexp import preflight
from bnexp.config import SplitKnobs, TrainConfig
from bnexp.data.batches import EvalBatches, Pixels, TrainBatches
from bnexp.data.splits import Splits, split
from bnexp.engine.device import choose
from bnexp.engine.learner import Learner
from bnexp.engine.precision import Precision
from bnexp.errors import ConfigError
from bnexp.models.blocks import Units
from bnexp.models.dropout import seed_noise
from bnexp.models.init import initialize
from bnexp.norms.traits import bind
from bnexp.protocols import Dataset, Probe, Split
from bnexp.seeding import stream
from bnexp.telemetry import probes as telemetry
from bnexp.weights import load_weights

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
    sites: list[preflight.NormSite]
    notes: list[str]

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.learner.model.parameters())

    @property
    def total_examples(self) -> int:
        epochs, steps = divmod(self.total_steps, self.batches.steps_per_epoch)
        return epochs * self.batches.num_examples + sum(self.batches.examples(step) for step in range(steps))


def build(config: TrainConfig, known_problems: Sequence[str] = ()) -> Parts:
    """Build every part of the run that `config` describes.

    Args:
        known_problems: what is already known to be wrong; the parts are then tried and nothing is returned.
    Raises:
        ConfigError, DataError, CheckpointError: a part cannot be built; several mistakes are told together.
    """
    problems = list(known_problems)
    attempt = partial(_collecting, problems)
    device = torch.device("cpu")
    with attempt():
        device = choose(config.device)
    dataset, knobs = _dataset(config)
    model: nn.Module = nn.Linear(1, 1)
    with attempt():
        _refuse_pointless_patience(config, knobs)
        splits = split(
            dataset, train_size=knobs.train_size, val_fraction=knobs.val_fraction, seed=config.seed
        )
    with attempt():
        model = _network(config, dataset).to(device)
    with attempt():
        optimizer = make(config.optimizer)(model)
        make_schedule = make(config.schedule)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))

    pixels = Pixels(splits.train, device=device)
    batches = _train_batches(config, splits.train, pixels, device, augment=knobs.augment)
    total_steps = config.steps or (config.epochs or 0) * batches.steps_per_epoch
    schedule = make_schedule(total_steps=total_steps)
    sites = _checked_sites(model, dataset, batches)
    notes = load_weights(model, config.weights, Path(config.runs_dir)) if config.weights else []
    held = partial(
        EvalBatches,
        batch_size=config.eval_batch_size,
        device=device,
        pixels=pixels,
        channels_last=config.channels_last,
    )
    return Parts(
        device=device,
        splits=splits,
        pixels=pixels,
        learner=_learner(config, model, optimizer, device),
        schedule=schedule,
        total_steps=total_steps,
        batches=batches,
        train_eval=held(_sample(splits.train, TRAIN_EVAL_EXAMPLES, config.seed)),
        val=held(splits.val) if splits.val is not None else None,
        test=held(splits.test),
        sites=sites,
        notes=notes,
    )


def probes(config: TrainConfig, parts: Parts) -> tuple[list[Probe], list[str]]:
    """Return what looks into the network of `parts` while it trains, and notes on what is left out.

    Raises:
        ConfigError: telemetry names layers or channels that the network does not have.
    """
    return telemetry.probes(
        parts.learner.model,
        total_steps=parts.total_steps,
        autocast=parts.learner.precision.autocast,
        **asdict(config.telemetry),
    )


def make(node: dict[str, Any]) -> Callable[..., Any]:
    """Return the partial that `node` describes; knobs arrive as plain Python values."""
    bound: Callable[..., Any] = instantiate(node, _convert_="all")
    return bound


@contextmanager
def _collecting(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        problems += error.problems


def _dataset(config: TrainConfig) -> tuple[Dataset, SplitKnobs]:
    names = {field.name for field in fields(SplitKnobs)}
    own = {name: value for name, value in config.data.items() if name not in names}
    dataset: Dataset = make(own)(Path(config.data_dir))
    return dataset, SplitKnobs(**{name: config.data[name] for name in names})


def _refuse_pointless_patience(config: TrainConfig, knobs: SplitKnobs) -> None:
    if config.early_stopping.patience is not None and knobs.val_fraction == 0:
        raise ConfigError("early_stopping.patience needs a validation split, got data.val_fraction=0")


def _network(config: TrainConfig, dataset: Dataset) -> nn.Module:
    units = Units(
        norm=bind(make(config.norm)),
        head_norm=bind(make(config.head_norm)),
        placement=config.placement,
        activation=config.activation,
    )
    network = make(config.model)
    model: nn.Module = network(image_shape=dataset.image_shape, num_classes=len(dataset.classes), units=units)
    initialize(model, make(config.init), config.seed)
    return model


def _train_batches(
    config: TrainConfig, train: Split, pixels: Pixels, device: torch.device, *, augment: bool
) -> TrainBatches:
    return TrainBatches(
        train,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
        drop_last=config.drop_last,
        augment=augment,
        seed=config.seed,
        device=device,
        pixels=pixels,
        channels_last=config.channels_last,
    )


def _checked_sites(model: nn.Module, dataset: Dataset, batches: TrainBatches) -> list[preflight.NormSite]:
    """Return the places of norms; refuse a run in which one could not train on a batch of an epoch."""
    sites = preflight.norm_sites(model, dataset.image_shape)
    groups = batches.group(0) + batches.group(batches.steps_per_epoch - 1)
    problems = preflight.problems(sites, [len(batch) for batch in groups])
    if problems:
        raise ConfigError(problems)
    return sites


def _learner(
    config: TrainConfig, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> Learner:
    """Finish the network in place: its optimizer already holds its parameters."""
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    precision = Precision(config.precision, device)
    streams = seed_noise(model, config.seed, device)
    if config.compile:
        model.compile()
    return Learner(model, optimizer, precision.scaler(), precision, streams)


def _sample(train: Split, size: int, seed: int) -> Split:
    """Return `size` examples of the training split, all of it where there are fewer."""
    if len(train) <= size:
        return train
    chosen = torch.randperm(len(train), generator=stream(seed, "train_eval"))[:size].to(train.labels.device)
    return Split(train.images[chosen], train.labels[chosen])

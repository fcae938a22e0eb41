"""`bnexp check`: is every norm what it says it is?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from bnexp import atomic
from bnexp.choices import groups
from bnexp.composition import words as grammar
from bnexp.composition.compose import compose
from bnexp.composition.expand import expand
from bnexp.config import TrainConfig
from bnexp.display import parity as tables
from bnexp.engine.device import choose, describe, environment
from bnexp.errors import ConfigError, unwritable
from bnexp.experiment.pieces import make
from bnexp.parity import matrix
from bnexp.parity.specimen import Subject
from bnexp.parity.tolerances import MatrixCell

FILE = "check.json"


def check(words: Sequence[str], plugins: Sequence[str], *, file: str | None, compiled: bool) -> int:
    """Fill the matrix of the norms that `words` choose, all if none; return 1 if a cell fails, else 0.

    Args:
        file: where it is kept as JSON; None is `check.json` in runs_dir.
        compiled: also compile the norms, which takes seconds each.
    Raises:
        ConfigError: a word that is wrong or has no meaning here; a device without float64.
    """
    configs = _configs(words, plugins)
    device = _device(configs)
    kept = Path(file) if file is not None else Path(configs[0].runs_dir) / FILE
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        told = f"--json must be in a folder that can be written, {kept.parent} is not ({error.strerror})"
        raise unwritable(kept.parent, error, told) from error
    if kept.is_dir():
        raise ConfigError(f"--json must name a file, {kept} is a folder")
    subjects = [_subject(config) for config in configs]
    checks = {**matrix.CHECKS, **(matrix.COMPILED_CHECKS if compiled else {})}
    console = Console()
    with environment(threads=1, deterministic=False):
        named = f"{len(subjects)} norm{'s' if len(subjects) > 1 else ''}"
        console.print(f"{named}, {len(checks)} checks each, on {describe(device)}", highlight=False)
        cells = list(_watched(console, matrix.cells(subjects, device, checks)))
    tables.matrix(console, cells)
    tables.details(console, cells)
    found = {"device": describe(device), "torch": torch.__version__, **matrix.summary(cells)}
    atomic.write_text(atomic.target(kept), json.dumps(found, indent=1) + "\n")
    counted = f"{found['passed']} pass, {found['failed']} fail, {found['not_applicable']} not applicable"
    console.print(f"{counted}; every cell: {kept}", soft_wrap=True, highlight=False, markup=False)
    return 1 if found["failed"] else 0


def _configs(given: Sequence[str], plugins: Sequence[str]) -> list[TrainConfig]:
    strange = [word for word in given if grammar.key(word).partition(".")[0] not in grammar.CHECK_KEYS]
    if strange:
        raise ConfigError(
            [f"{word}: check takes {', '.join(grammar.CHECK_KEYS)} and norm.KNOB=VALUE" for word in strange]
        )
    named = any(grammar.key(word) == "norm" for word in given)
    names = [] if named else [f"norm={','.join(sorted(groups()['norm']))}"]
    keys = {grammar.key(word) for word in given}
    names += [] if "device" in keys else ["device=cpu"]
    compositions = [compose(job, plugins) for job in expand([*names, *given])]
    problems = [line for composition in compositions for line in composition.problems]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return [composition.config for composition in compositions]


def _device(configs: Sequence[TrainConfig]) -> torch.device:
    (name, *others) = dict.fromkeys(config.device for config in configs)
    if others:
        raise ConfigError(f"check takes one device, got {', '.join([name, *others])}")
    device = choose(name)
    if device.type == "mps":
        raise ConfigError("check compares in float64, which mps does not have: use device=cpu")
    return device


def _subject(config: TrainConfig) -> Subject:
    bound: partial[Any] = make(config.norm)  # type: ignore[assignment]
    return Subject(config.choices["norm"], bound.func, bound.keywords)


def _watched(console: Console, cells: Iterator[MatrixCell]) -> Iterator[MatrixCell]:
    """Pass the cells on, and show on a terminal which norm is being measured."""
    with console.status("") as status:
        for cell in cells:
            status.update(f"{cell.norm}: {cell.check}")
            yield cell

"""The groups and their choices, and the knobs that the choices of a group share.

The folder is the registry: a choice is a file `conf/GROUP/NAME.yaml`, described by its first comment line. A
folder `bnexp_conf` in the working directory adds choices in the same way. A choice has the knobs that its
YAML names; what holds for a knob of several choices, its default apart, is said here. Needs neither Hydra nor
torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from bnexp.config import KNOBS
from bnexp.knobs import COUNTS, Knob, Range, described, knob

OWN_FOLDER = "bnexp_conf"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of libyaml where it is there: seven times as fast
# The groups, each with its folder in conf/; the last two set other knobs and build nothing.
GROUPS = {name: each.folder for name, each in KNOBS.items() if each.folder} | {
    "convention": "convention",
    "experiment": "experiment",
}
BUILT = tuple(name for name in GROUPS if name in KNOBS and name != "telemetry")
RunningVar = Literal["unbiased", "biased"]
Core = Literal["auto", "eager"]


@dataclass
class SplitKnobs:
    """What every data set's node holds besides its own knobs."""

    train_size: int | None = field(
        metadata=knob("images to take from the published training part; null for all", COUNTS)
    )
    val_fraction: float = field(
        metadata=knob(
            "of those, the share held out for validation; 0 is none, and the last weights count as best",
            Range(0, 1, open_high=True),
        )
    )
    augment: bool = field(
        metadata=knob("random crops after 4 pixels of padding, and mirror images where there is colour")
    )


@dataclass
class NormKnobs:
    """Knobs that several norms share; a norm has those that its YAML names."""

    eps: float = field(metadata=knob("added to the variance inside the root", Range(0, open_low=True)))
    momentum: float | None = field(
        metadata=knob("weight of the NEW batch in running averages; null weighs all alike", Range(0, 1))
    )
    affine: bool = field(metadata=knob("learn a weight and a bias"))
    track_running_stats: bool = field(
        metadata=knob("keep running averages; false normalizes by the batch in evaluation too")
    )
    running_var: RunningVar = field(
        metadata=knob(
            "what the running variance averages: unbiased (/(n - 1), as torch) or biased (/n, as Keras)",
            names=get_args(RunningVar),
        )
    )
    core: Core = field(
        metadata=knob(
            "auto uses compiled arithmetic where it is faster, eager never; they differ by rounding",
            names=get_args(Core),
        )
    )


@dataclass
class OptimizerKnobs:
    """Knobs that several optimizers share."""

    lr: float = field(metadata=knob("base learning rate", Range(0), phrase="lr {}"))
    momentum: float = field(metadata=knob("weight of the old velocity", Range(0, 1, open_high=True)))
    betas: list[float] = field(
        metadata=knob("weights of the old first and second moments", Range(0, 1, open_high=True))
    )
    eps: float = field(metadata=knob("added to the root of the second moment", Range(0)))
    weight_decay: float = field(metadata=knob("pull of weights towards 0", Range(0)))
    nesterov: bool = field(metadata=knob("step along the gradient plus momentum times the velocity"))
    decay_norm: bool = field(metadata=knob("false spares norm parameters and biases the decay"))


@dataclass
class ScheduleKnobs:
    """Knobs that several schedules share."""

    warmup_steps: int = field(metadata=knob("updates of a linear rise at the start", Range(0)))


@dataclass
class ModelKnobs:
    """Knobs of networks that are more than their YAMLs' comments say."""

    dropout: float = field(metadata=knob("probability of a zero", Range(0, 1, open_high=True)))
    residual: str = field(
        metadata=knob(
            "plain; with norm=none also skipinit or fixup, which start each block as its shortcut",
            names=("plain", "skipinit", "fixup"),
        )
    )


SHARED: dict[str, type] = {
    "norm": NormKnobs,
    "model": ModelKnobs,
    "data": SplitKnobs,
    "optimizer": OptimizerKnobs,
    "schedule": ScheduleKnobs,
}


@cache
def shared(group: str) -> dict[str, Knob]:
    """Return what is known of the knobs that the choices of a group share, by their own names."""
    return described(SHARED[GROUPS[group]]) if GROUPS.get(group) in SHARED else {}


def known(key: str) -> Knob | None:
    """Return what is known of a dotted key, of a knob that the choices of a group share too; else None."""
    group, _, name = key.partition(".")
    return KNOBS.get(key) or shared(group).get(name)


def misfits(group: str, **values: object) -> list[str]:
    """Return a line for each value that a shared knob of a group does not take."""
    knobs = shared(group)
    return [line for name, value in values.items() for line in knobs[name].problems(f"{group}.{name}", value)]


@cache
def conf_dir() -> Path:
    """Return the folder of shipped YAMLs: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def conf_dirs() -> list[Path]:
    """Return every folder that choices come from; the shipped one first, so its names cannot be taken."""
    own = Path.cwd() / OWN_FOLDER
    return [conf_dir(), own] if own.is_dir() else [conf_dir()]


def groups() -> dict[str, dict[str, str]]:
    """Return, for each group, its choices with their one-line descriptions."""
    found: dict[str, dict[str, str]] = {}
    for folder in conf_dirs():
        for path in sorted(folder.glob("*/*.yaml")):
            found.setdefault(path.parent.name, {}).setdefault(path.stem, description(path))
    return found


def description(path: Path) -> str:
    """Return a YAML's first comment line, without Hydra's package directive."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.startswith("#"):
            return ""
        if not line.startswith("# @package"):
            return line.lstrip("# ").strip()
    return ""


ABOUT = ("_as_before_", "_title_")  # what a YAML says of its choice, and what is built does not take


def title(group: str, option: object) -> str:
    """Return what people call a choice, such as `batch norm (ours)` for norm=custom: its YAML's `_title_`."""
    return _title(tuple(conf_dirs()), GROUPS.get(group, group), str(option))


@lru_cache(maxsize=1024)
def _title(folders: tuple[Path, ...], folder: str, option: str) -> str:
    """Look it up once, since a list of runs asks for each of them."""
    return str(own_values(folder, option).get("_title_", option))


def meant(group: str, said: str) -> list[str]:
    """Return the choices of which `said` may be another name: a beginning of their titles, or its initials.

    `batch` and `bn` are those that begin with `batch norm`, `layernorm` and `ln` those with `layer norm`.
    """
    words = re.sub(r"[^a-z]", "", re.sub(r"[123]d$", "", said.lower()))
    found = []
    for option in groups().get(GROUPS.get(group, group), {}):
        parts = re.findall(r"[a-z]+", title(group, option).lower())
        initials = "".join(part[0] for part in parts[:2])
        if (
            len(words) > 1
            and parts[1:2] == ["norm"]
            and ("".join(parts).startswith(words) or initials == words)
        ):
            found.append(option)
    return found


def own_values(group: str, option: object) -> Mapping[str, Any]:
    """Return what the YAML of a choice says at its top, `${...}` as it stands; nothing of an unknown choice.

    Args:
        option: may come from a run's configuration: it is compared with names and opens no file by itself.
    """
    paths = (path for folder in conf_dirs() for path in folder.glob(f"{group}/*.yaml"))
    return next((_load(path) for path in paths if path.stem == option), {})


def contents(group: str, folders: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    """Yield what the YAML of each choice says of the node of a group, `${...}` as it stands.

    Args:
        folders: what `conf_dirs` returns.
    """
    folder = GROUPS[group]
    for path in (path for root in folders for path in root.glob(f"{folder}/*.yaml")):
        content = _load(path)
        node = content.get(folder, content)  # a network's YAML sets knobs beside its node
        yield node if isinstance(node, Mapping) else {}


@lru_cache(maxsize=256)
def _load(path: Path) -> Mapping[str, Any]:
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}

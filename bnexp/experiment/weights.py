"""Starting from trained weights: another run's, or those of a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from bnexp.engine.tensor_files import read
from bnexp.errors import CheckpointError
from bnexp.experiment.state_dicts import state_dicts
from bnexp.models.part_names import WEIGHTED
from bnexp.runs.lookup import find

CLASSIFIER = "classifier."
BIAS = f".{WEIGHTED}.bias"
COUNT = ".num_batches_tracked"
OWN_PLACE = "model"  # in best.pt and last.pt


def load_weights(model: nn.Module, path: Path) -> list[str]:
    """Give `model` the weights and buffers that the file `path` holds; return what a user should know of it.

    They may lie in other dicts, and behind the prefix of a wrapper: see `state_dicts`. The whole classifier
    keeps its initial weights where the number of classes differs. A weight layer that has a bias here and
    none in the file gets zeros for it, with which it computes what it did there: batch norms leave out the
    bias before them, `frozen` and `running` do not. Counts of batches begin at 0 where the file has none, as
    before torch 0.4.1; `frozen` has no use for those that came with its statistics.

    Raises:
        CheckpointError: no such file; any other tensor is missing, left over or of another shape; something
            is no tensor, or not finite in the network's own number format.
    """
    own = model.state_dict()
    state, notes = _tensors(path, own)
    head = [name for name in own if name.startswith(CLASSIFIER) and name in state]
    skipped = head if any(_classes_alone_differ(state[name], own[name]) for name in head) else []
    kept = {name: tensor for name, tensor in state.items() if name not in skipped and not _idle(name, own)}
    unbiased = [name for name in own if name.endswith(BIAS) and _weight_alone(name, kept)]
    uncounted = [name for name in own if name.endswith(COUNT) and _statistics_alone(name, kept)]
    kept |= {name: torch.zeros_like(own[name]) for name in unbiased + uncounted}
    _refuse_strangers(path, own, kept, skipped)
    _refuse_non_finite(path, own, kept)
    model.load_state_dict(kept, strict=False)
    if skipped:
        notes.append(f"weights: the classifier of {path} has another number of classes and was left out")
    if unbiased:
        notes.append(f"weights: {path} has no {_some(unbiased)}; zeros stand there, which change nothing")
    if uncounted:
        notes.append(f"weights: {path} has no num_batches_tracked; the counts begin at 0")
    return notes


def locate(reference: str, runs_dir: Path) -> Path:
    """Return the weights file that `reference` means today, as a path that means it tomorrow.

    Args:
        reference: a weights file, or a run (its folder, its name, or `last`), whose best weights are taken,
            its last ones where it has no best.
    Raises:
        CheckpointError: there is no such file or run, or the run holds no weights.
    """
    path = Path(reference)
    if path.is_file():
        return path.resolve()
    run = path if path.is_dir() else _run(reference, runs_dir)
    for name in ("best.pt", "last.pt"):
        if (run / name).is_file():
            return (run / name).resolve()
    raise CheckpointError(f"weights={reference}: {run} holds neither best.pt nor last.pt")


def _run(reference: str, runs_dir: Path) -> Path:
    try:
        return find(reference, runs_dir)
    except CheckpointError as error:
        raise CheckpointError(f"weights={reference} must be a weights file or a run: {error}") from error


def _tensors(path: Path, own: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of the file that are meant for the names `own`, and from where they were taken."""
    parts = state_dicts(read(path), own)
    if not parts:
        raise CheckpointError(
            f"weights: {path} must hold tensors by name, as a state_dict does, and has none"
        )
    found, *others = parts
    if not found.matches:
        raise CheckpointError(
            f"weights: {path} has none of this network's tensors ({_some([*own])}), but "
            f"{_some([*found.values])}; use its own model and norm"
        )
    strangers = [name for name, value in found.values.items() if not _is_plain_tensor(value)]
    if strangers:
        raise CheckpointError(
            f"weights: {path} must hold real tensors only, {_some(strangers)} is none: give a state_dict"
        )
    notes = [f"weights: taken from {found.place} of {path}"] if found.place not in ("", OWN_PLACE) else []
    if others:
        places = _some([other.place or "its top" for other in others])
        notes.append(f"weights: {path} holds this network in other places too: {places}")
    if found.beside:
        notes.append(f"weights: left out {_some(found.beside)} of {path}, which are not this network's")
    return {name: value for name, value in found.values.items() if isinstance(value, Tensor)}, notes


def _is_plain_tensor(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_complex()


def _classes_alone_differ(given: Tensor, own: Tensor) -> bool:
    return given.dim() == own.dim() and given.shape[1:] == own.shape[1:] and len(given) != len(own)


def _idle(name: str, own: dict[str, Tensor]) -> bool:
    """Whether it counts the batches of statistics that are here, but counted no more."""
    statistics = f"{name.removesuffix(COUNT)}.running_mean"
    return name.endswith(COUNT) and name not in own and statistics in own


def _statistics_alone(count: str, state: dict[str, Tensor]) -> bool:
    return count not in state and f"{count.removesuffix(COUNT)}.running_mean" in state


def _weight_alone(bias: str, state: dict[str, Tensor]) -> bool:
    return bias not in state and f"{bias.removesuffix('bias')}weight" in state


def _refuse_non_finite(path: Path, own: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    broken = [name for name in state if not torch.isfinite(state[name].to(own[name].dtype)).all()]
    if broken:
        raise CheckpointError(f"weights: {path} must be finite, {_some(broken)} is not: take other weights")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _refuse_strangers(
    path: Path, own: dict[str, Tensor], state: dict[str, Tensor], skipped: list[str]
) -> None:
    missing = [name for name in own if name not in state and name not in skipped]
    extra = [name for name in state if name not in own]
    reshaped = [name for name in own if name in state and state[name].shape != own[name].shape]
    for names, what in (
        (missing, "lacks tensors of this network:"),
        (extra, "has tensors that this network lacks:"),
        (reshaped, "has other shapes for"),
    ):
        if names:
            raise CheckpointError(f"weights: {path} {what} {_some(names)}; use its own model and norm")

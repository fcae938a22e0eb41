"""Starting from trained weights: another run's, or those of a file."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from bnexp.engine.checkpoint import read
from bnexp.errors import CheckpointError
from bnexp.runs.directory import find

CLASSIFIER = "classifier."


def load_weights(model: nn.Module, path: Path) -> list[str]:
    """Give `model` the weights and buffers that the file `path` holds; return what a user should know of it.

    The classifier keeps its initial weights where the number of classes differs.
    Raises:
        CheckpointError: no such file; any other tensor is missing, left over or of another shape.
    """
    content = read(path)
    state = content.get("model", content)
    own = model.state_dict()
    skipped = [
        name
        for name in own
        if name.startswith(CLASSIFIER) and name in state and state[name].shape != own[name].shape
    ]
    _refuse_strangers(
        path, own, {name: tensor for name, tensor in state.items() if name not in skipped}, skipped
    )
    model.load_state_dict({name: state[name] for name in own if name not in skipped}, strict=False)
    return (
        [f"weights: the classifier of {path} has another number of classes and was left out"]
        if skipped
        else []
    )


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


def _refuse_strangers(
    path: Path, own: dict[str, Tensor], state: dict[str, Tensor], skipped: list[str]
) -> None:
    missing = [name for name in own if name not in state and name not in skipped]
    extra = [name for name in state if name not in own]
    reshaped = [name for name in own if name in state and state[name].shape != own[name].shape]
    for names, what in (
        (missing, "lacks"),
        (extra, "has, and this network has not,"),
        (reshaped, "shapes otherwise"),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckpointError(
                f"weights: {path} {what} {', '.join(names[:3])}{more}; use its own model and norm"
            )

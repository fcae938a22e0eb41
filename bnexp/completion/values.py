"""The values of knobs that take one of a few names, known without importing torch.

Tests hold these tables against the code that checks the values.
"""

from __future__ import annotations

from bnexp.composition.evaluation import CHECKPOINTS
from bnexp.config import FREEZABLE, GUARDS, PLACEMENTS, PRECISIONS
from bnexp.statuses import STATUSES

FLAG = ("true", "false")
CORES = ("auto", "eager")
RUNNING_VARS = ("unbiased", "biased")
RESIDUALS = ("plain", "skipinit", "fixup")
ACTIVATIONS = (
    "relu",
    "sigmoid",
    "tanh",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "mish",
    "softplus",
    "identity",
)

NAMED = {
    "activation": ACTIVATIONS,
    "checkpoint": CHECKPOINTS,
    "device": ("auto", "cpu", "cuda", "mps"),
    "drop_last": ("auto", *FLAG),
    "freeze_norm.what": FREEZABLE,
    "guard": GUARDS,
    "model.residual": RESIDUALS,
    "norm.core": CORES,
    "norm.running_var": RUNNING_VARS,
    "placement": PLACEMENTS,
    "precision": PRECISIONS,
    "status": tuple(STATUSES),
    "threads": ("auto",),
}
PATHS = ("weights", "data_dir", "runs_dir", "output_dir", "data.root", "save")
RUNS = ("weights",)


def named(key: str, kind: str) -> tuple[str, ...]:
    """Return the names that the knob `key` takes; `kind` is the type of its default in YAML's words."""
    return NAMED.get(key.removeprefix("head_"), FLAG if kind == "bool" else ())

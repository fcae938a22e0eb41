"""What a network cannot be built from, said in one line before torch fails in its own words."""

from __future__ import annotations

from bnexp.errors import ConfigError

MOST = 2**20  # channels of a layer: far more than fit into memory twice in a row
COUNT = f"a whole number from 1 to {MOST}"


def require_size(model: str, image_shape: tuple[int, int, int], smallest: int) -> None:
    """Raise ConfigError unless both sides of the image are at least `smallest` pixels."""
    height, width = image_shape[1:]
    if min(height, width) < smallest:
        raise ConfigError(
            f"model={model} needs images of at least {smallest}x{smallest}, got {height}x{width}; "
            "take larger images or another model"
        )


def refuse_preact(model: str, placement: str) -> None:
    """Raise ConfigError if `placement` is preact, for which `model` has no residual stream."""
    if placement == "preact":
        raise ConfigError(
            f"placement=preact needs a residual network, got model={model}; "
            "take model=resnet, or placement=pre or placement=post"
        )


def require_counts(knob: str, values: object) -> list[int]:
    """Return `values` as a list; raise ConfigError unless it holds whole numbers from 1 to MOST only."""
    if not isinstance(values, (list, tuple)) or not all(is_count(value) for value in values):
        raise ConfigError(f"{knob} must be a list of whole numbers from 1 to {MOST}, got {values!r}")
    return list(values)


def is_count(value: object) -> bool:
    """Say whether `value` is a whole number from 1 to MOST."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST

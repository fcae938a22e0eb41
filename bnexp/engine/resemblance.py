"""Whether what a file holds is what a learner saves: torch takes much else, and fails in a later step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bnexp.engine.learner import Learner

CHANGING = ("lr", "base_lr")  # of what an optimizer is told, the rest stays as it is
COUNTED = ("scale", "_growth_tracker")  # of a loss scaler


def stranger(saved: Mapping[str, Any], learner: Learner) -> str | None:
    """Return the first part of a checkpoint that cannot be this learner's, None where all can."""
    own = learner.state_dict()
    fits = {
        "model": model_fits(saved["model"], learner),
        "optimizer": _optimizer_fits(saved["optimizer"], learner),
        "scaler": _numbers_fit(saved["scaler"], own["scaler"], COUNTED),
        "streams": _tensors_fit(saved["streams"], own["streams"]),
    }
    return next((part for part, fit in fits.items() if not fit), None)


def model_fits(saved: object, learner: Learner) -> bool:
    """Whether these are weights and buffers of the learner's network, by names, shapes and number formats."""
    return _tensors_fit(saved, learner.model.state_dict())


def _tensors_fit(saved: object, own: Mapping[str, Tensor]) -> bool:
    if not isinstance(saved, Mapping) or saved.keys() != own.keys():
        return False
    return all(
        _is_real(saved[name]) and (saved[name].dtype, saved[name].shape) == (tensor.dtype, tensor.shape)
        for name, tensor in own.items()
    )


def _optimizer_fits(saved: object, learner: Learner) -> bool:
    own = learner.optimizer.state_dict()
    if not isinstance(saved, Mapping) or saved.keys() != own.keys():
        return False
    groups, state = saved["param_groups"], saved["state"]
    if (
        not isinstance(groups, list)
        or len(groups) != len(own["param_groups"])
        or not isinstance(state, Mapping)
    ):
        return False
    parameters = [each for group in learner.optimizer.param_groups for each in group["params"]]
    return all(map(_group_fits, groups, own["param_groups"])) and all(
        type(index) is int and 0 <= index < len(parameters) and _moments_fit(moments, parameters[index])
        for index, moments in state.items()
    )


def _group_fits(saved: object, own: Mapping[str, Any]) -> bool:
    """Whether a group has the same weights and settings; versions of torch have other settings besides."""
    if not isinstance(saved, Mapping) or "lr" not in saved or not _same(saved.get("params"), own["params"]):
        return False
    return all(_is_number(saved[name]) for name in CHANGING if name in saved) and all(
        _same(saved[name], value) for name, value in own.items() if name in saved and name not in CHANGING
    )


def _moments_fit(saved: object, parameter: Tensor) -> bool:
    """Whether these are tensors of the weight's shape, single ones, or nothing yet."""
    return isinstance(saved, Mapping) and all(
        (_is_real(value) and value.shape in (parameter.shape, ()))
        or (value is None and name == "momentum_buffer")  # of SGD without momentum
        for name, value in saved.items()
    )


def _numbers_fit(saved: object, own: Mapping[str, Any], changing: tuple[str, ...]) -> bool:
    if not isinstance(saved, Mapping) or saved.keys() != own.keys():
        return False
    return all(
        _is_number(saved[name]) and type(saved[name]) is type(value) and 0 <= saved[name] < 2**62
        if name in changing
        else _same(saved[name], value)
        for name, value in own.items()
    )


def _same(saved: object, own: object) -> bool:
    """Whether two plain values are one; what holds tensors compares as tensors."""
    return repr(saved) == repr(own)


def _is_real(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]

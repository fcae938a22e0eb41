"""Folding norms into the weights before them, for inference."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from bnexp.norms.modifiers.recalibrate import tracking

WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def fold(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """Return a copy of `model` for inference without the norms that directly follow a weight layer.

    With s = weight / sqrt(running_var + eps) of the norm, the layer before it becomes W' = s * W for each
    output channel and b' = (b - running_mean) * s + bias; in the norm's place stands `Identity`. Two layers
    are adjacent where they are so in a `Sequential`: a pool or an activation between them keeps them apart,
    and a norm before a weight stays, because the zeros of its padding would have to become other constants.

    Also returns the qualified names of the folded norms; none where nothing is adjacent, or every norm
    measures its input in evaluation too. The copy is in evaluation mode; `model` is left alone.
    Source: torch.nn.utils.fusion, whose function does the arithmetic.
    """
    folded = copy.deepcopy(model).eval()
    pairs = list(_pairs(folded))
    for _, sequence, place in pairs:
        weighted: Any = sequence[place]
        norm: Any = sequence[place + 1]
        weighted.weight, weighted.bias = fuse_conv_bn_weights(
            weighted.weight,
            weighted.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        sequence[place + 1] = nn.Identity()
    return folded, [name for name, _, _ in pairs]


def _pairs(model: nn.Module) -> Iterator[tuple[str, nn.Sequential, int]]:
    """Find each norm that can be folded: its name, the sequence in which it stands, the place before it."""
    uses = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    norms = {layer: name for name, layer in tracking(model).items() if _stands_alone(layer, uses)}
    for sequence in model.modules():
        if not isinstance(sequence, nn.Sequential) or not _in_order(sequence):
            continue
        for place, (before, after) in enumerate(pairwise(sequence)):
            weighted = type(before) in WEIGHTS and _stands_alone(before, uses)
            if weighted and after in norms and _is_affine(after, before):
                yield norms[after], sequence, place


def _in_order(sequence: nn.Sequential) -> bool:
    """Whether its parts run one after another; one with a forward of its own declares it as `in_order`."""
    return type(sequence).forward is nn.Sequential.forward or getattr(sequence, "in_order", False)


def _stands_alone(layer: nn.Module, uses: Counter[nn.Module]) -> bool:
    """Whether the layer stands in one place, with nothing hooked to it that would go on after folding."""
    return uses[layer] == 1 and not _hooked(layer)


def _hooked(layer: nn.Module) -> bool:
    """Whether the layer has hooks: whether one more is not alone, which the handle of that one can tell."""
    handles = layer.register_forward_hook(_nothing), layer.register_forward_pre_hook(_nothing)
    try:
        return any(len(handle.hooks_dict_ref() or ()) > 1 for handle in handles)
    finally:
        for handle in handles:
            handle.remove()


def _nothing(*_: Any) -> None: ...


def _is_affine(norm: Any, before: Any) -> bool:
    """Whether evaluation is (x - running_mean) / sqrt(running_var + eps) * weight + bias.

    Layers are asked by a trial rather than by their class: subclasses and a user's own layers may do more
    than what they inherit says.
    """
    channels = len(before.weight)
    known = all(hasattr(norm, part) for part in ("running_mean", "running_var", "eps", "weight", "bias"))
    if not known or len(norm.running_var) != channels:
        return False
    trial = copy.deepcopy(norm).cpu().double().eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, channels, *(2,) * (before.weight.dim() - 2), generator=generator, dtype=torch.float64)
    expected = F.batch_norm(
        x, trial.running_mean, trial.running_var, trial.weight, trial.bias, eps=float(trial.eps)
    )
    with torch.no_grad():
        return torch.allclose(trial(x), expected, rtol=1e-9, atol=1e-9)

"""Folding norms into the weights before them, for inference."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from bnexp.norms.recalibrate import tracking

WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def fold(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """Return a copy of `model` for inference without the norms that directly follow a weight layer.

    With s = weight / sqrt(running_var + eps) of the norm, the layer before it becomes W' = s * W for each
    output channel and b' = (b - running_mean) * s + bias; in the norm's place stands `Identity`. Two layers
    are adjacent where they are so in a `Sequential`: a pool or an activation between them keeps them apart,
    and a norm before a weight stays, because zero padding would come out as another constant.

    Also returns the qualified names of the folded norms; none where nothing is adjacent, or every norm
    measures its input in evaluation too. The copy is in evaluation mode; `model` is left alone.
    Source: torch.nn.utils.fusion, whose function does the arithmetic.
    """
    folded = copy.deepcopy(model).eval()
    names = []
    for name, sequence, (before, after) in list(_pairs(folded)):
        weighted, norm = sequence[before], sequence[after]
        weighted.weight, weighted.bias = fuse_conv_bn_weights(
            weighted.weight,
            weighted.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        sequence[after] = nn.Identity()
        names.append(name)
    return folded, names


def _pairs(model: nn.Module) -> Iterator[tuple[str, nn.Sequential, tuple[int, int]]]:
    """Find each norm that can be folded: its name, the sequence in which it stands, and both places there."""
    uses = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    candidates = {layer: name for name, layer in tracking(model).items() if uses[layer] == 1}
    for sequence in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        if type(sequence).forward is not nn.Sequential.forward:
            continue
        for place, (before, after) in enumerate(zip(sequence[:-1], sequence[1:], strict=True)):
            foldable = type(before) in WEIGHTS and uses[before] == 1 and after in candidates
            if foldable and _is_affine(after, before):
                yield candidates[after], sequence, (place, place + 1)


def _is_affine(norm: nn.Module, before: nn.Module) -> bool:
    """Whether evaluation is (x - running_mean) / sqrt(running_var + eps) * weight + bias.

    Layers are asked by a trial rather than by their class, because subclasses and a user's own layers may do
    more than they inherit.
    """
    if not all(hasattr(norm, part) for part in ("eps", "weight", "bias")):
        return False
    trial = copy.deepcopy(norm).double().eval()
    running_mean, running_var = trial.get_buffer("running_mean"), trial.get_buffer("running_var")
    axes = before.weight.dim() - 2 if isinstance(before.weight, Tensor) else 0
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, len(running_mean), *(2,) * axes, generator=generator, dtype=torch.float64)
    x = x.to(running_mean.device)
    expected = F.batch_norm(x, running_mean, running_var, trial.weight, trial.bias, eps=float(trial.eps))
    with torch.no_grad():
        return torch.allclose(trial(x), expected, rtol=1e-9, atol=1e-9)

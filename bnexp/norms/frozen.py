"""Batch normalization with everything fixed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bnexp.norms.arithmetic import moments
from bnexp.norms.contract import formulas
from bnexp.norms.contract.arguments import check_input, check_knobs
from bnexp.norms.contract.promises import Promises


@Promises(formulas.by_running_statistics, formulas.unmoved)
class FrozenNorm(nn.Module):
    """Scale and shift each channel by four fixed vectors, in training as in evaluation.

    y = weight * (x - running_mean) / sqrt(running_var + eps) + bias, where all four are buffers that nothing
    changes: 1, 0, 0 and 1 until a state dict is loaded, so that y is x / sqrt(1 + eps).

    Shape: x (N, C) or (N, C, *), * up to three axes -> same shape, dtype and memory format; any N, also 1.
        weight, bias, running_mean, running_var: (C,), named as in torch's batch norms, whose state dicts
        load; their num_batches_tracked is dropped.
    Args:
        num_features: C.
        spatial: sizes of * where the layer will stand; any other sizes work too.
        eps: added to the variance inside the root, > 0.
    Raises:
        ConfigError: num_features < 1, or eps not above 0 and finite.
        ShapeError: x is not floating point, or has other than C channels or 2 to 5 axes.
    Precision: float16 and bfloat16 are computed in float32 and cast back; float64 stays float64.
    Source: torchvision.ops.FrozenBatchNorm2d. Departs from it in: centres first, so that a large mean cancels
        no digits; x without or with one or three spatial axes too.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, spatial: tuple[int, ...], *, eps: float = 1e-5) -> None:
        super().__init__()
        check_knobs(num_features, eps)
        self.num_features, self.eps = num_features, eps
        for name, value in {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}.items():
            self.register_buffer(name, torch.full((num_features,), value))
        self.register_load_state_dict_pre_hook(_drop_count)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.num_features)
        wide = torch.promote_types(x.dtype, torch.float32)
        rstd_C = moments.inverse_std(moments.cast(self.running_var, wide), self.eps)
        return moments.normalized_from(x, self.running_mean, rstd_C, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


def _drop_count(norm: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Take the state of a batch norm, which has counted its batches."""
    state_dict.pop(prefix + "num_batches_tracked", None)

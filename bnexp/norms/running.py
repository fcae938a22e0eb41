"""Normalization by running statistics, in training too."""

from __future__ import annotations

import torch
from torch import Tensor

from bnexp.choices import Core, RunningVar
from bnexp.norms.arithmetic.derivatives import normalize_by, normalize_by_batch
from bnexp.norms.contract import formulas
from bnexp.norms.contract.promises import Promises
from bnexp.norms.custom import CustomNorm, torch_batch_norm


@Promises(
    formulas.by_running_statistics, formulas.averaged_moments, torch_batch_norm, torch_trains_alike=False
)
class RunningNorm(CustomNorm):
    """Normalize each channel by the running averages of its moments, in training as in evaluation.

    y = weight * (x - running_mean) / sqrt(running_var + eps) + bias. A training batch is normalized by the
    buffers as the batches before left them; then it moves them, as in `CustomNorm`. To the gradient they are
    constants: nothing pulls back what the weights before the norm do to the channel's scale, so training
    is apt to diverge where batch normalization does not.

    Shape: x (N, C) or (N, C, *), * up to three axes -> same shape, dtype and memory format.
        weight, bias, running_mean, running_var: (C,), named as in torch, so state dicts go both ways.
    Args:
        num_features, spatial, eps, momentum, affine, running_var, core: as in `CustomNorm`.
    Raises:
        ConfigError: as in `CustomNorm`.
        ShapeError: x does not fit, or a training batch has one value per channel, which has no variance.
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, section 2, as what not to do: steps that ignore how the
        moments depend on the weights.
    """

    removes_channel_mean = False
    batch_statistics = False

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        spatial: tuple[int, ...],
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        running_var: RunningVar = "unbiased",
        core: Core = "auto",
    ) -> None:
        super().__init__(
            num_features,
            spatial,
            eps=eps,
            momentum=momentum,
            affine=affine,
            running_var=running_var,
            core=core,
        )

    def _normalize(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = normalize_by(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)
        with torch.no_grad():
            _, mean_C, batch_var_C = normalize_by_batch(x.detach(), None, None, self.eps, self.core)
        return y, mean_C, batch_var_C

"""Batch normalization by hand: the layer, and the derivatives behind it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bnexp.choices import Core, RunningVar
from bnexp.errors import ShapeError
from bnexp.norms.arithmetic import compiled, moments
from bnexp.norms.arithmetic.derivatives import normalize_by, normalize_by_batch
from bnexp.norms.contract import formulas
from bnexp.norms.contract.arguments import check_input, check_knobs
from bnexp.norms.contract.promises import Given, Knobs, Promises


def batch_norm_formula(given: Given) -> Tensor:
    """Ioffe & Szegedy 2015, Alg. 1 in training and Alg. 2, line 11 in evaluation, as torch reads them."""
    if given.training or "running_mean" not in given.state:
        axes, eps = formulas.batch_axes(given.x), given.knobs["eps"]
        return formulas.affine(formulas.standardized(given.x, axes, eps), given.state)
    return formulas.by_running_statistics(given)


def torch_batch_norm(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module | None:
    """Return torch's batch norm with these knobs, None where it lacks one."""
    if knobs.get("running_var", "unbiased") != "unbiased":
        return None
    kind = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(spatial)]
    asked = {name: knobs.get(name, True) for name in ("affine", "track_running_stats")}
    return kind(num_features, eps=knobs["eps"], momentum=knobs["momentum"], **asked)


BATCH_NORM = Promises(batch_norm_formula, formulas.averaged_moments, torch_batch_norm)


@BATCH_NORM
class CustomNorm(nn.Module):
    """Normalize each channel over the batch and all positions, as torch.nn.BatchNorm1d, 2d and 3d do.

    y = weight * (x - mean) / sqrt(var + eps) + bias, with mean, var over N and * for each channel.
    Training uses the batch's mean and biased variance (/n) and moves the buffers towards its mean and its
    unbiased variance (/(n - 1)); evaluation uses the buffers only, or the batch where there are no buffers.

    Shape: x (N, C) or (N, C, *), * up to three axes -> same shape, dtype and memory format.
        weight, bias, running_mean, running_var: (C,), named as in torch, so state dicts go both ways.
    Args:
        num_features: C.
        spatial: sizes of * where the layer will stand; any other sizes work too.
        eps: added to the variance inside the root, > 0.
        momentum: weight of the new batch in the running averages, in [0, 1]; None weighs all batches alike.
        affine: learn weight and bias, which start at 1 and 0.
        track_running_stats: keep the buffers.
        running_var: the variance that is averaged: "unbiased" as in torch, or "biased" as in Keras, which for
            n values is smaller by (n - 1) / n.
        core: auto takes the compiled arithmetic of `bnexp.norms.arithmetic.compiled` where it is there
            and faster; eager takes torch's operations only. They differ by rounding.
    Raises:
        ConfigError: num_features < 1, eps not above 0 and finite, momentum outside [0, 1], or another
            running_var or core.
        ShapeError: x is not floating point, has other than C channels or 2 to 5 axes, or one value per
            channel where the batch is to be measured; unlike in torch, such a batch is not counted.
    Precision: float16 and bfloat16 are computed in float32 and cast back; float64 stays float64.
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, Alg. 1-2. Departs from Alg. 2 as torch does: running
        averages take the place of a pass over the training set.
    """

    removes_channel_mean = True
    batch_statistics = True

    _version = 2  # a state dict of version 1 has no num_batches_tracked
    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        spatial: tuple[int, ...],
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        running_var: RunningVar = "unbiased",
        core: Core = "auto",
    ) -> None:
        super().__init__()
        check_knobs(num_features, eps, momentum, running_var=running_var, core=core)
        self.biased = running_var == "biased"
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats, self.core = affine, track_running_stats, core
        for name, start in {"weight": torch.ones, "bias": torch.zeros}.items():
            self.register_parameter(name, nn.Parameter(start(num_features)) if affine else None)
        for name, start in {"running_mean": torch.zeros, "running_var": torch.ones}.items():
            self.register_buffer(name, start(num_features) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0) if track_running_stats else None)
        self.register_load_state_dict_pre_hook(_keep_count)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.num_features)
        if not self.training:
            running_mean, running_var = self.running_mean, self.running_var
            if running_mean is not None and running_var is not None:
                return normalize_by(x, running_mean, running_var, self.weight, self.bias, self.eps)
        n = x.numel() // self.num_features
        if n == 1:
            raise ShapeError(
                f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}: "
                "use batches of 2 or more (drop_last=auto drops a last batch of one) or another norm"
            )
        y, mean_C, batch_var_C = self._normalize(x)
        if self.training and self.track_running_stats:
            self._track(mean_C, batch_var_C, n)
        return y

    def _normalize(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return y and the mean and biased variance of x, which the buffers are to move towards."""
        return normalize_by_batch(x, self.weight, self.bias, self.eps, self.core)

    def _track(self, mean_C: Tensor, batch_var_C: Tensor, n: int) -> None:
        """Count the batch and move the buffers in place; an empty batch is counted and moves nothing."""
        count, running_mean, running_var = self.num_batches_tracked, self.running_mean, self.running_var
        if count is None or running_mean is None or running_var is None:
            return
        count.add_(1)
        if n == 0:
            return
        # a tensor, because reading the count as a number would wait for the device
        momentum = count.to(running_mean.dtype).reciprocal() if self.momentum is None else self.momentum
        self._move((running_mean, running_var), (mean_C, batch_var_C), n, momentum)

    def _move(
        self, buffers: tuple[Tensor, Tensor], batch: tuple[Tensor, Tensor], n: int, momentum: float | Tensor
    ) -> None:
        """Move running mean and variance towards those of a batch of n values a channel."""
        unbias = 1.0 if self.biased else n / (n - 1)
        if isinstance(momentum, float) and self.core == "auto" and compiled.movable(*buffers, *batch):
            compiled.move(*buffers, *batch, unbias=unbias, momentum=momentum)
            return
        moments.move(buffers[0], batch[0], momentum)
        value_C = batch[1] if self.biased else moments.unbiased(batch[1], n)
        moments.move(buffers[1], value_C, momentum)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}{', running_var=biased' if self.biased else ''}"
        )


def _keep_count(
    norm: CustomNorm, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *_: Any
) -> None:
    """Take states of version 1, of before torch counted batches: the count stays what it is."""
    if (local_metadata.get("version") or 1) < 2 and norm.num_batches_tracked is not None:
        state_dict.setdefault(prefix + "num_batches_tracked", norm.num_batches_tracked)

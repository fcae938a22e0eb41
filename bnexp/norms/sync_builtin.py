"""PyTorch's own synchronized batch normalization."""

from __future__ import annotations

from torch import Tensor, distributed, nn

from bnexp.errors import ShapeError
from bnexp.norms.contract.arguments import check_knobs
from bnexp.norms.custom import BATCH_NORM


@BATCH_NORM
class SyncBuiltinNorm(nn.SyncBatchNorm):
    """torch.nn.SyncBatchNorm: as `bnexp.norms.sync.SyncNorm`, on CUDA only; one process is plain batch norm.

    Shape: x (N, C) or (N, C, *) -> same shape and dtype.
    Args:
        num_features, spatial, eps, momentum, affine, track_running_stats: as `bnexp.norms.custom.CustomNorm`.
    Raises:
        ConfigError: num_features < 1, eps not above 0 and finite, or momentum outside [0, 1].
        ShapeError: x trains on the CPU while torch.distributed is initialized, which torch refuses.
    Source: torch.nn.SyncBatchNorm.
    """

    removes_channel_mean = True
    batch_statistics = True

    def __init__(
        self,
        num_features: int,
        spatial: tuple[int, ...],
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        check_knobs(num_features, eps, momentum)
        super().__init__(
            num_features, eps=eps, momentum=momentum, affine=affine, track_running_stats=track_running_stats
        )

    def forward(self, x: Tensor) -> Tensor:
        if (
            self.training
            and x.device.type == "cpu"
            and distributed.is_available()
            and distributed.is_initialized()
        ):
            raise ShapeError(
                "sync_builtin shares statistics between processes on CUDA only, got a batch on the CPU: "
                "use norm=sync, which works on both"
            )
        return super().forward(x)

"""Where and how a run computes: the device, the number format, the threads, the determinism of kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from bnexp.config import KNOBS
from bnexp.engine.convolution import repair
from bnexp.errors import ConfigError
from bnexp.knobs import refuse

DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose(name: str) -> torch.device:
    """Return the device `name` asks for; `auto` is CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    refuse(KNOBS["device"].problems("device", name))
    try:
        device = torch.device(name)
    except (RuntimeError, OverflowError):
        raise ConfigError(f"device={name}: there is no device of that number; use device=auto") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={name}: no CUDA device is usable here; use device=cpu or device=auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={name}: there are {torch.cuda.device_count()} CUDA devices, counted from 0"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps: no MPS device is usable here; use device=cpu or device=auto")
    return device


def describe(device: torch.device) -> str:
    """Return the device's name as a person knows it."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def cores() -> int:
    """Return how many cores this process may use; no more than OMP_NUM_THREADS says."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "")
    return min(found, int(told)) if told.isdecimal() and int(told) > 0 else found


@contextmanager
def environment(threads: int, deterministic: bool) -> Iterator[None]:
    """Compute on `threads` cores, with deterministic kernels if asked; restore both afterwards.

    The repair of torch's convolutions stays: it changes only what would be wrong.
    """
    repair()
    threads_before = torch.get_num_threads()
    flag_before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(
        deterministic or flag_before, warn_only=warn_only and not deterministic
    )
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(flag_before, warn_only=warn_only)


class Precision:
    """The number format of the forward pass: autocast to `name` on `device`, and the loss scaling it needs.

    Weights, gradients and buffers stay float32.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.dtype = DTYPES[name]
        self.device_type = device.type

    def autocast(self) -> AbstractContextManager[object]:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device_type, enabled=self.dtype is torch.float16)


def widest(device: torch.device) -> torch.dtype:
    """Return the widest number format that `device` can compute in."""
    return torch.float32 if device.type == "mps" else torch.float64

"""Where a run was computed: versions, machine, threads, and the state of bnexp's own source."""

from __future__ import annotations

import os
import platform
import resource
import socket
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("bnexp", "torch", "torchvision", "numpy", "hydra-core", "omegaconf", "tensorboard")
SOURCE = Path(__file__).resolve().parents[1]
TIMEOUT_S = 3.0


def where() -> dict[str, Any]:
    """Return where this process computes; what cannot be learnt is null.

    `git_commit` and `git_dirty` (changes or new files in bnexp/ or conf/) are those of a checkout that tracks
    bnexp's source, and null for an installed package.
    """
    versions = {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()}
    commit, dirty = _git_state(SOURCE)
    return {
        "versions": versions,
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "host": socket.gethostname(),
        "git_commit": commit,
        "git_dirty": dirty,
    }


def peak_memory_bytes(device: torch.device | str) -> int:
    """Return the most memory in use so far: allocated on a CUDA device, else resident in this process.

    Both count from the last `forget_peak_memory`, or from the start of the process.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def forget_peak_memory(device: torch.device | str) -> None:
    """Let `peak_memory_bytes` count from now on; a process that runs many jobs has many peaks.

    Does nothing where the system cannot: on the CPU only Linux can.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    if sys.platform == "darwin":
        name = _output("sysctl", "-n", "machdep.cpu.brand_string")
        return name.strip() if name else platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _git_state(source: Path) -> tuple[str | None, bool | None]:
    """An untracked `source`, such as a virtual environment inside some checkout, has no state."""
    git = ("git", "-C", str(source))
    if _output(*git, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    status = _output(*git, "status", "--porcelain=v2", "--branch", "--", ".", "../conf")
    if status is None:
        return None, None
    heads = [line.split()[2] for line in status.splitlines() if line.startswith("# branch.oid")]
    changes = [line for line in status.splitlines() if not line.startswith("#")]
    return next((head for head in heads if head != "(initial)"), None), bool(changes)


def _output(*command: str) -> str | None:
    # A caller's GIT_DIR would point at another repository; optional locks would disturb other git commands.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None

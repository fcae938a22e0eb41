"""The arithmetic of `moments` compiled for this machine: built from core.c once, kept in the user's cache.

A compiler is asked for, not required: without one, or where nothing can be kept, `load` returns None and the
torch operations of `moments` do all the work.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

SOURCE = Path(__file__).with_name("core.c")
# no -ffast-math: it would take the parts of a sum for interchangeable and lose what rounding left over
FLAGS = ["-O3", "-Wno-psabi", "-fopenmp-simd", "-ffp-contract=off", "-std=c11", "-fPIC", "-shared"]
_POINTER, _LONG, _DOUBLE = ctypes.c_void_p, ctypes.c_long, ctypes.c_double
SIGNATURES = {
    "by_batch": [_POINTER] * 3 + [_DOUBLE] + [_LONG] * 4 + [_POINTER] * 4,
    "gradients": [_POINTER] * 5 + [_LONG] * 4 + [_POINTER] * 3,
    "move": [_POINTER] * 2 + [_DOUBLE] * 2 + [_LONG] + [_POINTER] * 2,
}


@lru_cache
def load() -> ctypes.CDLL | None:
    """Return the compiled functions, built now if this is the first time; None where that is impossible."""
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if ctypes.sizeof(_LONG) != 8 or shutil.which(compiler[0]) is None:
        return None
    try:
        library = ctypes.CDLL(str(_built(compiler)))
    except (OSError, subprocess.SubprocessError):
        return None
    for name, arguments in SIGNATURES.items():
        getattr(library, name).argtypes = arguments
    return library


def _built(compiler: list[str]) -> Path:
    """Return the library for this source, compiler and processor; a folder may serve unlike machines."""
    command = [*compiler, *FLAGS, *_tuning()]
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    key = hashlib.sha256(b"\0".join([SOURCE.read_bytes(), version, " ".join(command).encode(), _processor()]))
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnexp"
    library = folder / f"core-{key.hexdigest()[:16]}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            new = Path(work) / library.name
            told = [*command, "-o", str(new), str(SOURCE), "-lm", "-pthread"]
            subprocess.run(told, capture_output=True, check=True, timeout=120)
            new.replace(library)
    return library


def _tuning() -> list[str]:
    return ["-march=native"] if platform.machine() in ("x86_64", "AMD64") else []


def _processor() -> bytes:
    """Return what tells processors with other instructions apart."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.platform().encode()
    return b"\n".join(
        sorted({line for line in lines if line.startswith((b"flags", b"Features", b"model name"))})
    )

"""Several GPUs for several local workers: each worker sees one, so that jobs do not all land on the first."""

from __future__ import annotations

import fcntl
import os
from functools import lru_cache
from pathlib import Path
from typing import IO

import yaml

from bnexp.choices import LOADER
from bnexp.runs.sweeps import read

VISIBLE = "CUDA_VISIBLE_DEVICES"
_held: list[IO[str]] = []  # the lock of this process's seat, until it ends


def number_of_gpus(_: object = None) -> int:
    """Return how many GPUs this process sees."""
    import torch  # not above: the process that launches a sweep asks its workers

    return torch.cuda.device_count()


@lru_cache(maxsize=1)
def gpus_to_share(record: Path) -> tuple[str, ...]:
    """Return the names of this machine's GPUs; none where it has no two, or jobs name one themselves.

    Kept, since this process counts one once it has a seat.
    """
    if number_of_gpus() < 2:
        return ()
    devices = {yaml.load(job.config, Loader=LOADER)["device"] for job in read(record).jobs}
    if not devices <= {"auto", "cuda"}:
        return ()
    named = os.environ.get(VISIBLE)
    return tuple(named.split(",")) if named else tuple(map(str, range(number_of_gpus())))


def see_one_of(gpus: tuple[str, ...], record: Path) -> None:
    """Let this worker see one of `gpus` alone, the next that fewest other workers of the sweep see.

    Workers take numbered seats, files beside the sweep's record that they lock until they end; seat k sees
    GPU k mod the number of GPUs. Must be called before CUDA is used in this process.
    """
    if not gpus or _held:
        return
    seat = 0
    while not _taken(record.with_suffix(f".seat{seat}")):
        seat += 1
    os.environ[VISIBLE] = gpus[seat % len(gpus)]


def _taken(path: Path) -> bool:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    _held.append(file)
    return True

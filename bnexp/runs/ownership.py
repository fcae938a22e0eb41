"""Which run a folder's files belong to, and whether its configuration is still the one that it was given.

`run.json` beside config.yaml holds a random id, drawn when the run began and kept by copies, and each
configuration that bnexp itself gave the run, without folders: what stands in config.yaml and not here was
written by hand.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bnexp import atomic, plain_files
from bnexp.errors import CheckpointError
from bnexp.runs.directory import RunDirectory
from bnexp.runs.identity import apart_from_folders
from bnexp.runs.reading import as_of_now, leaves, read_config

MOST_TOLD = 3
LONGEST = 60


@dataclass(frozen=True)
class Ownership:
    """Whose a run's files are.

    adopted: the run was begun by a version that drew no id, so that its first checkpoints have none.
    """

    run: str
    configs: list[dict[str, Any]]
    adopted: bool = False


def begin(directory: RunDirectory, text: str, config: Mapping[str, Any]) -> Ownership:
    """Draw the id of a new run and write its configuration, `text`, which makes the folder a run.

    Raises:
        CheckpointError: the folder has become a run since it was made.
        OSError: nothing can be written; then nothing of the run is left.
    """
    if directory.config_file.exists():
        raise CheckpointError(f"{directory.path} has been made a run by another process: choose another")
    owned = Ownership(secrets.token_hex(8), [comparable(config)])
    try:
        _write(directory, owned)
        directory.write_config(text)
    except OSError:
        discard(directory)
        raise
    return owned


def change(directory: RunDirectory, text: str, config: Mapping[str, Any]) -> None:
    """Give a run that goes on another configuration; killed in between, it still has the one before."""
    owned = of(directory)
    _write(directory, Ownership(owned.run, [*owned.configs, comparable(config)], owned.adopted))
    directory.write_config(text)


def discard(directory: RunDirectory) -> None:
    """Remove what a run that could not begin has made, and its folder where nothing else is in it."""
    with suppress(OSError):
        for file in (directory.ownership_file, directory.log_file, directory.lock_file):
            file.unlink(missing_ok=True)
        directory.path.rmdir()


def of(directory: RunDirectory) -> Ownership:
    """Return whose the files of a run are; one that has no id yet gets one, which `keep` writes.

    Raises:
        CheckpointError: run.json is damaged, or config.yaml was changed by hand since the run began.
    """
    config = comparable(read_config(directory))
    owned = _read(directory)
    if owned is None:
        return Ownership(secrets.token_hex(8), [config], adopted=True)
    known = [comparable(each) for each in owned.configs]
    if config not in known:
        raise CheckpointError(
            f"{directory.config_file} was changed after the run began ({differences(config, known[-1])}): "
            "put it back, or begin another run by `bnexp train`"
        )
    return owned


def keep(directory: RunDirectory, owned: Ownership) -> None:
    """Write the id that a run has been given, once its files are known to be its own."""
    if not directory.ownership_file.exists():
        _write(directory, owned)


def comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded configuration of any version as this one would record it, without folders."""
    found: dict[str, Any] = json.loads(json.dumps(apart_from_folders(as_of_now(config))))
    return found


def differences(config: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Say in what a configuration differs from another, some of it: `seed 1 instead of 0`."""
    ours, theirs = dict(leaves(config)), dict(leaves(other))
    keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    told = [f"{key} {_short(ours.get(key))} instead of {_short(theirs.get(key))}" for key in keys[:MOST_TOLD]]
    more = [f"{len(keys) - MOST_TOLD} more"] if len(keys) > MOST_TOLD else []
    return ", ".join(told + more)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _write(directory: RunDirectory, owned: Ownership) -> None:
    content = {"run": owned.run, "configs": owned.configs, "adopted": owned.adopted}
    atomic.write_text(directory.ownership_file, json.dumps(content, indent=1) + "\n")


def _read(directory: RunDirectory) -> Ownership | None:
    try:
        found = json.loads(plain_files.read_bytes(directory.ownership_file, plain_files.MOST_BYTES))
        run, configs, adopted = found["run"], found["configs"], found["adopted"]
        if isinstance(run, str) and isinstance(adopted, bool) and configs:
            return Ownership(run, [dict(each) for each in configs], adopted)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    raise CheckpointError(
        f"{directory.ownership_file} is damaged, which says whose the run's files are: delete it if they are "
        "the run's own"
    )

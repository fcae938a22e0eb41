"""The run directory: made once, locked while in use, found again by name."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnexp import atomic, plain_files
from bnexp.errors import BnexpError, CheckpointError, ConfigError
from bnexp.errors import unwritable as cannot_write
from bnexp.runs import lock
from bnexp.runs.identity import slug
from bnexp.statuses import ANSWERED, RESUMABLE

SWEEPS = "sweeps"  # the folder of records beside the runs of an experiment
TRACES = ("config.yaml", "result.json", "metrics.jsonl", "*.pt", "events.out.tfevents.*")
STAMP = re.compile(r"_(\d{8}-\d{6})-[0-9a-f]{4}$")
STAMP_FORMAT = "%Y%m%d-%H%M%S"


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one run, and the names of what stands in it."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def last_file(self) -> Path:
        return self.path / "last.pt"

    @property
    def previous_file(self) -> Path:
        return self.path / "previous.pt"

    @property
    def has_checkpoint(self) -> bool:
        return self.last_file.exists() or self.previous_file.exists()

    @property
    def ownership_file(self) -> Path:
        return self.path / "run.json"

    @property
    def best_file(self) -> Path:
        return self.path / "best.pt"

    @property
    def log_file(self) -> Path:
        return self.path / "log.txt"

    @property
    def eval_file(self) -> Path:
        return self.path / "eval.json"

    @property
    def lock_file(self) -> Path:
        return self.path / "run.lock"

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run while the context is open; freed by the system if the process dies.

        Raises:
            CheckpointError: another process holds it; the message names that process.
        """
        return lock.hold(self.lock_file)

    def read_config(self) -> str:
        """Return the text of config.yaml.

        Raises:
            CheckpointError: it cannot be read, or is no text.
        """
        try:
            return plain_files.read_text(self.config_file)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CheckpointError(f"{self.config_file} cannot be read ({reason})") from error

    def write_config(self, text: str) -> None:
        """Write config.yaml, whole or not at all."""
        atomic.write_text(self.config_file, text)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json, whole or not at all; non-finite numbers become null."""
        atomic.write_text(self.result_file, _json(result))

    def write_evaluation(self, found: Mapping[str, Any]) -> None:
        """Write eval.json, as result.json is written.

        Raises:
            ConfigError, StorageError: the folder cannot be written.
        """
        try:
            atomic.write_text(self.eval_file, _json(found))
        except OSError as error:
            raise cannot_write(
                self.eval_file, error, f"{self.eval_file} cannot be written ({error.strerror})"
            ) from error

    def read_result(self) -> dict[str, Any] | None:
        """Return what result.json holds, None where there is none.

        Raises:
            CheckpointError: the file is not an object with a known status.
        """
        try:
            result = json.loads(
                plain_files.read_bytes(self.result_file, plain_files.MOST_BYTES),
                parse_constant=lambda _: None,
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CheckpointError(f"{self.result_file} cannot be read ({reason}): delete it") from error
        if not isinstance(result, dict) or result.get("status") not in ANSWERED + RESUMABLE:
            raise CheckpointError(f"{self.result_file} must hold an object with a run's status: delete it")
        return result


def create(root: Path, experiment: str, label: str) -> RunDirectory:
    """Make root/experiment/label_YYYYmmdd-HHMMSS-xxxx, a name that no other process was given.

    Raises:
        ConfigError: `root` cannot be written.
    """
    folder = root / slug(experiment)
    while True:
        path = folder / f"{slug(label)}_{time.strftime(STAMP_FORMAT)}-{secrets.token_hex(2)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=False)
        except FileExistsError as error:
            if folder.is_dir():
                continue
            raise unwritable("runs_dir", root, error) from error
        except OSError as error:
            raise unwritable("runs_dir", root, error) from error
        return RunDirectory(path)


def create_at(path: Path) -> RunDirectory:
    """Make exactly `path`, or take it as it is when it holds nothing of a run.

    A run that was killed before it wrote its configuration has left its lock and perhaps an id, and no run.

    Raises:
        ConfigError: it holds a run, or cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = next((file.name for trace in TRACES for file in path.glob(trace)), None)
    except OSError as error:
        raise unwritable("output_dir", path, error) from error
    if found is None and lock.is_held(path / "run.lock"):
        found = "run.lock"
    if found is not None:
        raise ConfigError(
            f"output_dir must hold no run, {path} has {found}: choose another folder, or go on with "
            f"`bnexp resume {path}`"
        )
    return RunDirectory(path)


def open_run(path: Path) -> RunDirectory:
    """Return the run that `path` holds.

    Raises:
        CheckpointError: there is no run.
    """
    run = RunDirectory(path)
    if not run.config_file.is_file():
        raise CheckpointError(f"a run holds config.yaml, {path} has none: give the folder of a run")
    return run


def status(run: RunDirectory) -> str:
    """Return how the run ended, or `running`; `interrupted` where its process died; never raises.

    A run that has its lock and not yet its config.yaml is running, too.

    A resumed run has the result of its first part until it ends: a held lock says that it runs.
    `broken` is a folder without config.yaml or with an unreadable result.json.
    """
    try:
        return standing(run, run.read_result())
    except CheckpointError:
        return "broken"


def standing(run: RunDirectory, result: Mapping[str, Any] | None) -> str:
    """Return the status of a run whose result.json holds `result`, None where there is none."""
    ended = str(result["status"]) if result else "interrupted"
    if ended in RESUMABLE and lock.is_held(run.lock_file):
        return "running"
    return ended if os.path.isfile(run.config_file) else "broken"


def unwritable(knob: str, path: Path, error: OSError) -> BnexpError:
    """Return the error for a folder that cannot be written."""
    told = f"{knob} must be a folder that can be written, {path} is not ({error.strerror}): choose another"
    return cannot_write(path, error, told)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(finite(content), indent=2, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """Return `value` with null for numbers that are not finite, at any depth: JSON has none."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

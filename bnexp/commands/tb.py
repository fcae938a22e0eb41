"""`bnexp tb`: TensorBoard, for this machine only, on the runs that are named."""

from __future__ import annotations

import io
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from bnexp.errors import CheckpointError, ConfigError
from bnexp.runs.directory import find

HOST = "127.0.0.1"
LAST_PORT = 65535
RELOAD_S = 5
# More than any run logs: 0 keeps everything too, but then the pages ask for 0 points and get them.
SAMPLES = {"scalars": 10**6, "histograms": 10**6, "images": 1000, "text": 1000}


def tb(references: Sequence[str], runs_dir: str, port: int | None) -> int:
    """Serve until Ctrl-C, SIGTERM or the end of the terminal; return the exit code.

    Args:
        references: runs, as `find` takes them; none shows all under `runs_dir`, also those that begin later.
        port: None is 6006 or the next that is free, 0 any that is free.
    Raises:
        CheckpointError: a reference means no run, or there are no runs at all.
        ConfigError: the port cannot be had.
    """
    root = Path(runs_dir)
    runs = [find(reference, root).resolve() for reference in references]
    if not runs and not any(root.glob("*/*/config.yaml")):
        raise CheckpointError(f"{root} holds no runs yet; `bnexp train` makes one")
    if port is not None:
        _check(port)
    with _until_told(), _folder_of(runs, root) as folder:
        print(f"{_count(runs, root)}: {serve(folder, port)} (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(3600)
    return 0


def serve(folder: Path, port: int | None) -> str:
    """Serve all runs under `folder` from a thread of this process; return the address.

    Raises:
        ConfigError: TensorBoard gets no port.
    """
    from tensorboard import program  # type: ignore[import-untyped]

    server = program.TensorBoard(_plugins())
    server.configure(
        logdir=str(folder), host=HOST, port=port, samples_per_plugin=SAMPLES, reload_interval=RELOAD_S
    )
    try:
        # Its note about the fast loader, four lines at every start.
        with redirect_stderr(io.StringIO()):
            address: str = server.launch()
    except program.TensorBoardServerException as error:
        raise ConfigError(f"TensorBoard must get a port ({error.msg}): take another --port") from error
    return address


def _check(port: int) -> None:
    """Say at once what TensorBoard would say after loading."""
    if not 0 <= port <= LAST_PORT:
        raise ConfigError(f"--port must lie in 0..{LAST_PORT}, got {port}")
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise ConfigError(
            f"--port must be free, got {port} ({error.strerror}): take another or leave it out"
        ) from error


def _plugins() -> list[Any]:
    """Return TensorBoard's pages; those of histograms send every step and not 51 of them without step 0."""
    from tensorboard import default

    return [
        type(page.__name__, (page,), {"SAMPLE_SIZE": SAMPLES["histograms"]})
        if hasattr(page, "SAMPLE_SIZE")
        else page
        for page in default.get_plugins()
    ]


@contextmanager
def _until_told() -> Iterator[None]:
    """End the block without an error on Ctrl-C, SIGTERM and the terminal's end, and tidy up."""
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _folder_of(runs: Sequence[Path], root: Path) -> Iterator[Path]:
    """Give a folder that holds just `runs` under readable names; none means `root` as it is.

    Links, because with --logdir_spec TensorBoard loads a hundred times slower.
    """
    if not runs:
        yield root
        return
    names = Counter(run.name for run in set(runs))
    with tempfile.TemporaryDirectory(prefix="bnexp-tb-") as made:
        for run in sorted(set(runs)):
            link = Path(made) / (run.name if names[run.name] == 1 else f"{run.parent.name}/{run.name}")
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(run, target_is_directory=True)
        yield Path(made)


def _count(runs: Sequence[Path], root: Path) -> str:
    number = len(set(runs))
    return f"{number} run{'' if number == 1 else 's'}" if runs else f"all runs under {root}"

"""`bnexp tb`: TensorBoard, for this machine only, on the runs that are meant."""

from __future__ import annotations

import io
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from bnexp.analysis.board import Mean, folder_of, means_over_seeds
from bnexp.analysis.query import nearest, select
from bnexp.errors import CheckpointError, ConfigError
from bnexp.runs.lookup import files_of_runs

HOST = "127.0.0.1"
LAST_PORT = 65535
RELOAD_S = 5
# More than any run logs: 0 keeps everything too, but then the pages ask for 0 points and get them.
SAMPLES = {"scalars": 10**6, "histograms": 10**6, "images": 1000, "text": 1000}


def tb(words: Sequence[str], runs_dir: str, port: int | None, *, mean: bool = False) -> int:
    """Serve until Ctrl-C, SIGTERM or the end of the terminal; return the exit code.

    Args:
        words: runs and filters, as `bnexp.analysis.query.select` takes them; shown are the runs that they
            mean now. None shows all under `runs_dir`, also those that begin later.
        port: None is 6006 or the next that is free, 0 any that is free.
        mean: beside the runs show their means over seeds, as they stand now.
    Raises:
        CheckpointError: the words mean no run, or there are no runs at all.
        ConfigError: the port cannot be had, or a filter is none.
    """
    root = Path(runs_dir)
    if not words and not files_of_runs(root, "config.yaml"):
        raise CheckpointError(f"{root} holds no runs yet; `bnexp train` makes one")
    if port is not None:
        _check(port)
    with _until_told(), ExitStack() as stack:
        if words or mean:
            folder, shown = _chosen(words, root, mean, stack)
        else:
            folder, shown = root, f"all runs under {root}"
        print(f"{shown}: {serve(folder, port)} (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(3600)
    return 0


def _chosen(words: Sequence[str], root: Path, mean: bool, stack: ExitStack) -> tuple[Path, str]:
    """Return a folder of the runs that are meant, which lasts as long as `stack`, and what it shows."""
    found = select(words, root)
    records = sorted((one for one in found if one.problem is None), key=lambda one: one.started)
    broken = len(found) - len(records)
    if not records:
        told = f" ({broken} broken)" if broken else nearest(words, root)
        raise CheckpointError(f"no run {' '.join(words) or f'under {root}'}{told}; see `bnexp runs`")
    notes = [f"{_count(broken, 'broken run')} left out; see `bnexp runs`"] if broken else []
    means: list[Mean] = []
    if mean:
        means, more = means_over_seeds(records)
        notes += more
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    shown = _count(len(records), "run") + (f", {_count(len(means), 'mean')} over seeds" if means else "")
    return stack.enter_context(folder_of(records, means)), shown


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


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

"""`bnexp tb` as a person uses it: which runs it shows, who can see them, and how it ends."""

import signal
import socket
import time
from pathlib import Path

import pytest
from tensorboard_server import serving

from bnexp.cli import run
from bnexp.protocols import Histogram, Measurement
from bnexp.telemetry.event_file import EventFile

STEPS = 3000
HISTOGRAM = Histogram([0.0, 1.0], [1.0, 2.0], -0.5, 0.5, 0.0, 1.0)


def leave_run(folder, steps=1):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("norm: {}\n")
    writer = EventFile(folder, start=0)
    for step in range(steps):
        histograms = {"gradient/w": HISTOGRAM} if step % 10 == 0 else {}
        writer.write(step, Measurement({"loss/train": float(step)}, histograms))
    writer.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    leave_run(root / "default" / "long", STEPS)
    leave_run(root / "default" / "twin")
    leave_run(root / "other" / "twin")
    leave_run(root / "other" / "unwanted")
    return root


@pytest.fixture(scope="module")
def board(runs):
    with serving(
        "long", "default/twin", str(runs / "other" / "twin"), "long", "--runs-dir", str(runs)
    ) as server:
        server.wait_for({"long", "twin, default", "twin, other"})
        yield server


def test_the_runs_that_are_named_are_shown_under_their_names(board):
    assert set(board.get("scalars/tags")) == {"long", "twin, default", "twin, other"}


def test_every_step_is_kept(board):
    assert [step for step, _ in board.scalars("long", "loss/train")] == list(range(STEPS))
    assert [step for step, _ in board.histograms("long", "gradient/w")] == list(range(0, STEPS, 10))
    assert len(board.get("distributions/distributions", run="long", tag="gradient/w")) == STEPS / 10
    for plugin, tag, every in (("scalars", "loss/train", 1), ("histograms", "gradient/w", 10)):
        assert board.steps(plugin, "long", [tag]) == {tag: list(range(0, STEPS, every))}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs the kernel's list of sockets")
def test_only_this_machine_can_look(board):
    port = f"{int(board.address.rstrip('/').rsplit(':', 1)[1]):04X}"
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    sockets = [line.split()[1] for table in tables for line in table]
    assert {address for address in sockets if address.endswith(f":{port}")} == {f"0100007F:{port}"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_it_ends_well_and_leaves_nothing_behind(number, runs, tmp_path):
    with serving("long", "--runs-dir", str(runs), TMPDIR=str(tmp_path)) as server:
        assert [path for path in tmp_path.iterdir() if path.name.startswith("bnexp")]
        children = children_of(server.process.pid)
        server.process.send_signal(number)
        assert server.process.wait(30) == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("bnexp")]
    end = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < end
        time.sleep(0.05)


def children_of(pid):
    return [
        child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]


def complaint(capsys, *words):
    assert run(["tb", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_port_in_use_is_one_line(runs, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = complaint(capsys, "--runs-dir", str(runs), "--port", str(port))
    assert line.startswith(f"bnexp: --port must be free, got {port} (")
    assert line.endswith("take another or leave it out")


@pytest.mark.parametrize("port", ["-1", "70000"])
def test_a_number_that_is_no_port_is_one_line(port, runs, capsys):
    assert port in complaint(capsys, "--runs-dir", str(runs), "--port", port)


def test_a_folder_without_runs_is_one_line(tmp_path, capsys):
    assert (
        complaint(capsys, "--runs-dir", str(tmp_path))
        == f"bnexp: {tmp_path} holds no runs yet; `bnexp train` makes one"
    )


def test_a_run_that_does_not_exist_is_one_line(runs, capsys):
    assert "no run 'lnog'" in complaint(capsys, "lnog", "--runs-dir", str(runs))

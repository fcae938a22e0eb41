"""Published data sets, downloaded from a server of the test's own."""

import gzip
import hashlib
import http.server
import io
import json
import pickle
import socket
import struct
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets

from bnexp.data import download
from bnexp.data.cifar10 import cifar10
from bnexp.data.cifar100 import cifar100
from bnexp.data.fashion_mnist import fashion_mnist
from bnexp.data.mnist import FILES, mnist
from bnexp.errors import DataError
from bnexp.protocols import Dataset

DatasetFunction = Callable[[Path], Dataset]


@dataclass
class Server:
    """Serves `files` by name once `gate` is set; of those in `cut`, the second half never comes."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    downloads: Counter[str] = field(default_factory=Counter)
    gate: threading.Event = field(default_factory=threading.Event)


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, server: Server, *args: object) -> None:
        self.shelf = server
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self.shelf.gate.wait(60)
        found = self.path.strip("/") in self.shelf.files
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.shelf.files.get(self.path.strip("/"), b""))))
        self.end_headers()

    def do_GET(self) -> None:
        name = self.path.strip("/")
        self.do_HEAD()
        self.shelf.downloads[name] += 1
        content = self.shelf.files.get(name, b"")
        self.wfile.write(content[: len(content) // 2] if name in self.shelf.cut else content)

    def log_message(self, *args: object) -> None:
        pass


class Listening(http.server.ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, *args: object) -> None:
        """A client that gave up is what some tests want."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    shelf = Server()
    shelf.gate.set()
    with Listening(("127.0.0.1", 0), partial(Handler, shelf)) as listening:
        shelf.url = f"http://127.0.0.1:{listening.server_port}/"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield shelf
        listening.shutdown()
        thread.join()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def idx_files(num_train: int = 6, num_test: int = 4) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for part, num in (("train", num_train), ("t10k", num_test)):
        pixels, labels = rng.integers(0, 256, num * 784), np.arange(num) % 10
        files[f"{part}-images-idx3-ubyte"] = struct.pack(">4I", 2051, num, 28, 28) + bytes(pixels.tolist())
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">2I", 2049, num) + bytes(labels.tolist())
    return files


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture(params=[("MNIST", mnist), ("FashionMNIST", fashion_mnist)], ids=lambda pair: pair[0])
def idx_set(
    request: pytest.FixtureRequest, server: Server, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, DatasetFunction]:
    """A data set in MNIST's format that the server offers: (name, function)."""
    name, function = request.param
    offer_idx(server, getattr(torchvision.datasets, name), monkeypatch)
    return name, function


@pytest.fixture
def offered_mnist(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    offer_idx(server, torchvision.datasets.MNIST, monkeypatch)
    return server


def offer_idx(server: Server, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files = {f"{name}.gz": gzip.compress(content) for name, content in idx_files().items()}
    monkeypatch.setattr(kind, "mirrors", [server.url])
    monkeypatch.setattr(kind, "resources", [(name, md5(content)) for name, content in server.files.items()])


def offer_cifar(
    server: Server, kind: Any, labels_key: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, dict[str, Any]]:
    """Serve tiny batches in CIFAR's format and return what is in them."""
    rng = np.random.default_rng(0)
    batches = {
        name: {"data": rng.integers(0, 256, (2, 3072), dtype=np.uint8), labels_key: [0, 1]}
        for name, _ in (*kind.train_list, *kind.test_list)
    }
    contents = {name: pickle.dumps(batch) for name, batch in batches.items()}
    contents[kind.meta["filename"]] = pickle.dumps({kind.meta["key"]: ["cat", "dog"]})
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{kind.base_folder}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    server.files = {kind.filename: archive.getvalue()}
    for listing in ("train_list", "test_list"):
        checked = [[name, md5(contents[name])] for name, _ in getattr(kind, listing)]
        monkeypatch.setattr(kind, listing, checked)
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(contents[kind.meta["filename"]])})
    monkeypatch.setattr(kind, "url", server.url + kind.filename)
    monkeypatch.setattr(kind, "tgz_md5", md5(archive.getvalue()))
    return batches


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.name.endswith(".lock")}


def test_grey_sets_are_downloaded_once_and_read_as_they_are(
    idx_set: tuple[str, DatasetFunction], server: Server, tmp_path: Path
) -> None:
    name, function = idx_set
    first = function(tmp_path / "data")
    requests = server.downloads.copy()
    again = function(tmp_path / "data")
    for dataset in (first, again):
        raw = np.frombuffer(idx_files()["t10k-images-idx3-ubyte"], dtype=np.uint8, offset=16)
        np.testing.assert_array_equal(dataset.test.images.numpy(), raw.reshape(4, 1, 28, 28))
        assert dataset.train.labels.tolist() == [0, 1, 2, 3, 4, 5]
        assert dataset.test.labels.tolist() == [0, 1, 2, 3]
        assert len(dataset.classes) == 10
    assert server.downloads == requests
    expected = {name, f"{name}/raw", *(f"{name}/raw/{file}" for file in FILES)}
    assert everything_below(tmp_path / "data") == expected


@pytest.mark.parametrize(
    ("kind", "function", "labels_key", "num_train"),
    [
        (torchvision.datasets.CIFAR10, cifar10, "labels", 10),
        (torchvision.datasets.CIFAR100, cifar100, "fine_labels", 2),
    ],
)
def test_colour_sets_are_downloaded_once_and_read_as_they_are(
    kind: Any,
    function: DatasetFunction,
    labels_key: str,
    num_train: int,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    batches = offer_cifar(server, kind, labels_key, monkeypatch)
    function(tmp_path)
    requests = server.downloads.copy()
    dataset = function(tmp_path)
    assert server.downloads == requests
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.train) == num_train and dataset.train.labels.tolist() == [0, 1] * (num_train // 2)
    raw = batches[kind.test_list[0][0]]["data"]
    for channel, row, column in ((0, 0, 5), (1, 31, 0), (2, 7, 30)):
        oracle = raw[:, channel * 1024 + row * 32 + column]
        np.testing.assert_array_equal(dataset.test.images[:, channel, row, column].numpy(), oracle)


def test_sets_of_other_than_the_published_size_warn(tmp_path: Path) -> None:
    put(tmp_path / "MNIST" / "raw", idx_files())
    assert mnist(tmp_path).warnings == (
        f"{tmp_path}/MNIST/raw holds 6 training and 4 test images, published were 60,000 and 10,000: "
        "delete that folder to download them again",
    )


def test_download_says_one_line(
    offered_mnist: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mnist(tmp_path / "data")
    mnist(tmp_path / "data")
    assert capfd.readouterr() == ("", f"Downloading MNIST into {tmp_path / 'data'}/ ...\n")


def test_present_data_needs_no_server_lock_or_write_access(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [])
    put(tmp_path / "MNIST" / "raw", idx_files())
    before = sorted(tmp_path.rglob("*"))
    tmp_path.chmod(0o555)
    try:
        assert len(mnist(tmp_path).train) == 6
    finally:
        tmp_path.chmod(0o755)
    assert sorted(tmp_path.rglob("*")) == before


def test_absent_data_without_a_server_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unheard.getsockname()[1]}/"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [closed])
    with pytest.raises(DataError) as caught:
        mnist(tmp_path / "data")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"MNIST is not in {tmp_path / 'data'}/ and could not be downloaded (")
    assert "Connection refused" in message
    assert message.endswith(
        f"put the files {', '.join(FILES)} into {tmp_path}/data/MNIST/raw, or run with data=digits"
    )
    assert everything_below(tmp_path / "data") == set()


def test_silent_server_times_out(
    offered_mnist: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    offered_mnist.gate.clear()
    with pytest.raises(DataError, match="timed out"):
        mnist(tmp_path)
    offered_mnist.gate.set()
    assert socket.getdefaulttimeout() is None


def test_unwritable_data_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"^MNIST is not in .*File exists.*data=digits$"):
        mnist(tmp_path / "data")


def test_cut_download_leaves_nothing_and_can_be_repeated(offered_mnist: Server, tmp_path: Path) -> None:
    offered_mnist.cut = {"t10k-labels-idx1-ubyte.gz"}
    with pytest.raises(DataError, match="could not be downloaded"):
        mnist(tmp_path)
    assert everything_below(tmp_path) == set()
    offered_mnist.cut = set()
    assert len(mnist(tmp_path).test) == 4


def test_interrupted_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(dataset: torchvision.datasets.MNIST) -> None:
        put(Path(dataset.raw_folder), {FILES[0]: b"half"})
        raise KeyboardInterrupt

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mnist(tmp_path)
    assert everything_below(tmp_path) == set()


def test_remains_of_a_killed_download_are_not_used(offered_mnist: Server, tmp_path: Path) -> None:
    put(tmp_path / ".MNIST.partial" / "MNIST" / "raw", dict.fromkeys(FILES, b"half"))
    assert len(mnist(tmp_path).train) == 6
    assert ".MNIST.partial" not in everything_below(tmp_path)


def test_second_mirror_helps_when_the_first_serves_garbage(
    offered_mnist: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered_mnist.files |= {f"bad/{name}": b"garbage" for name in offered_mnist.files}
    mirrors = [f"{offered_mnist.url}bad/", offered_mnist.url]
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", mirrors)
    assert len(mnist(tmp_path).train) == 6
    assert offered_mnist.downloads["bad/train-images-idx3-ubyte.gz"] > 0


@pytest.mark.parametrize("broken", FILES)
def test_corrupt_grey_file_is_one_line(broken: str, tmp_path: Path) -> None:
    files = idx_files()
    put(tmp_path / "MNIST" / "raw", files | {broken: files[broken][:-3]})
    with pytest.raises(DataError, match=r"MNIST.raw.*delete that folder") as caught:
        mnist(tmp_path)
    assert "\n" not in str(caught.value)


def test_labels_that_do_not_fit_the_images_are_refused(tmp_path: Path) -> None:
    few = {"train-labels-idx1-ubyte": idx_files(num_train=5)["train-labels-idx1-ubyte"]}
    put(tmp_path / "few" / "MNIST" / "raw", idx_files() | few)
    with pytest.raises(DataError, match="6 images and 5 labels"):
        mnist(tmp_path / "few")
    high = {"train-labels-idx1-ubyte": struct.pack(">2I", 2049, 6) + bytes([0, 1, 2, 3, 4, 10])}
    put(tmp_path / "high" / "MNIST" / "raw", idx_files() | high)
    with pytest.raises(DataError, match=r"label from 0 to 9 .* up to 10"):
        mnist(tmp_path / "high")


def test_corrupt_colour_batch_is_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer_cifar(server, torchvision.datasets.CIFAR10, "labels", monkeypatch)
    cifar10(tmp_path)
    requests = server.downloads.copy()
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"garbage")
    with pytest.raises(
        DataError, match=r"^CIFAR10 in .*cifar-10-batches-py cannot be read .*delete that folder"
    ):
        cifar10(tmp_path)
    assert server.downloads == requests


CHILD = """
import json, sys
from pathlib import Path
import torchvision.datasets
kind = torchvision.datasets.MNIST
kind.mirrors, kind.resources = json.loads(sys.argv[1])
from bnexp.data.mnist import mnist
print(len(mnist(Path(sys.argv[2])).train))
"""


class GateOpener(io.StringIO):
    """A stderr whose first line lets the server answer."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self.gate = gate

    def write(self, text: str) -> int:
        self.gate.set()
        return super().write(text)


def test_two_processes_download_once_between_them(
    offered_mnist: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist(tmp_path / "alone")
    alone = offered_mnist.downloads.copy()
    offered_mnist.downloads.clear()
    offered_mnist.gate.clear()
    folder = tmp_path / "data"
    patch = json.dumps([torchvision.datasets.MNIST.mirrors, torchvision.datasets.MNIST.resources])
    command = [sys.executable, "-c", CHILD, patch, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == f"Downloading MNIST into {folder}/ ...\n"
        said = GateOpener(offered_mnist.gate)
        monkeypatch.setattr(sys, "stderr", said)
        assert len(mnist(folder).train) == 6
        assert child.communicate(timeout=60) == ("6\n", "")
    assert said.getvalue() == f"Waiting for another process that downloads MNIST into {folder}/ ...\n"
    assert offered_mnist.downloads == alone

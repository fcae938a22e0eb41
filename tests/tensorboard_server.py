"""A real TensorBoard, started as a user starts it and asked over HTTP as its own pages ask it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode
from urllib.request import Request, urlopen

# Signals as in a terminal: a test run in the background hands down an ignored SIGINT.
BNEXP = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from bnexp.cli import main
main(sys.argv[1:])
"""
SLOW = {
    "TENSORBOARD_DATA_SERVER_BINARY": "/nowhere"
}  # TensorBoard then loads with Python, as on some platforms
PATIENCE_S = 60
STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]


class Server:
    def __init__(self, process: subprocess.Popen, address: str) -> None:
        self.process = process
        self.address = address

    def bytes(self, page: str, **query) -> bytes:
        with urlopen(f"{self.address}data/plugin/{page}?{urlencode(query)}", timeout=PATIENCE_S) as answer:
            return answer.read()

    def get(self, page: str, **query):
        return json.loads(self.bytes(page, **query))

    def post(self, page: str, **body):
        return self._post(page, json.dumps(body), "application/json")

    def _post_form(self, page: str, **fields: str):
        return self._post(page, urlencode(fields), "application/x-www-form-urlencoded")

    def _post(self, page: str, body: str, kind: str):
        address = f"{self.address}data/plugin/{page}"
        request = Request(address, data=body.encode(), headers={"Content-Type": kind})
        with urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def wait_for(self, runs: set[str]) -> None:
        """Wait until `runs` and no others have all that is in their files."""
        end = time.monotonic() + PATIENCE_S
        while set(found := self.get("scalars/tags")) != runs or found != self.get("scalars/tags"):
            assert time.monotonic() < end, f"expected {sorted(runs)}, TensorBoard shows {sorted(found)}"
            time.sleep(0.2)

    def scalars(self, run: str, tag: str) -> list[tuple[int, float]]:
        return [(step, value) for _, step, value in self.get("scalars/scalars", run=run, tag=tag)]

    def histograms(self, run: str, tag: str) -> list[tuple[int, list[list[float]]]]:
        """Return the buckets, each as left edge, right edge and count, at each step."""
        return [(step, buckets) for _, step, buckets in self.get("histograms/histograms", run=run, tag=tag)]

    def steps(self, plugin: str, run: str, tags: list[str]) -> dict[str, list[int]]:
        """Return the steps of many tags with one question, as the Time Series page asks it."""
        requests = [{"plugin": plugin, "tag": tag} for tag in tags]
        requests = [request | {"run": run} for request in requests] if plugin == "histograms" else requests
        answers = self._post_form("timeseries/timeSeries", requests=json.dumps(requests))
        return {answer["tag"]: [point["step"] for point in answer["runToSeries"][run]] for answer in answers}

    def run_table(self, *columns: dict) -> list[dict]:
        table = self.post(
            "hparams/session_groups",
            experimentName="",
            allowedStatuses=STATUSES,
            colParams=list(columns),
            startIndex=0,
            sliceSize=1000,
        )
        return table["sessionGroups"]


@contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[Server]:
    """Run `bnexp tb` with `arguments` on a port of its choice."""
    process = subprocess.Popen(
        [sys.executable, "-c", BNEXP, "tb", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    with process:
        try:
            line = process.stdout.readline()
            address = next(word for word in line.split() if word.startswith("http://"))
            yield Server(process, address)
        finally:
            if process.poll() is None:
                process.terminate()

"""A headless Chromium through chromedriver's own HTTP protocol, with what it asks the network for."""

import json
import re
import subprocess
import tempfile
import urllib.request
from contextlib import contextmanager

SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
)
WITHIN_S = 120


class Browser:
    """One page in a browser."""

    def __init__(self, address):
        self._address = address

    def call(self, path, **content):
        """Send a command of the WebDriver protocol; return its value."""
        body = json.dumps(content).encode()
        request = urllib.request.Request(
            self._address + path, body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
            return json.load(answer)["value"]

    def run(self, script):
        """Return what JavaScript returns in the page."""
        return self.call("/execute/sync", script=script, args=[])

    def open(self, page):
        """Load a page; return the address of everything that it asked for, also what failed."""
        self.call("/url", url=page)
        entries = self.call("/se/log", type="performance")
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        asked = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        # The browser's own start page is still loading parts of itself.
        return [one["request"]["url"] for one in asked if one["documentURL"] == page]


@contextmanager
def browsing(chromium, driver):
    """Give a Browser; both processes end with the block."""
    with tempfile.TemporaryDirectory() as profile:
        process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
        try:
            address = f"http://127.0.0.1:{_port(process)}/session"
            options = {"binary": chromium, "args": [*SWITCHES, f"--user-data-dir={profile}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
            session = Browser(address).call("", capabilities={"alwaysMatch": wanted})
            browser = Browser(f"{address}/{session['sessionId']}")
            try:
                yield browser
            finally:
                request = urllib.request.Request(browser._address, method="DELETE")
                urllib.request.urlopen(request, timeout=WITHIN_S).close()
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def _port(process):
    for line in process.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return int(found[1])
    raise RuntimeError("chromedriver ended without saying on which port it listens")

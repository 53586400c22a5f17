"""Headless Chromium, asked over a pipe (the DevTools protocol) what it makes of a page."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-extensions --disable-dev-shm-usage --mute-audio "
    "--remote-debugging-pipe"
).split()
WAIT = 30.0
MOVE = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(x), fcntl.F_DUPFD, 10) for x in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""  # a browser reads 3 and writes 4


def found() -> str:
    """The path of a Chromium. These tests look at pages, so they fail without one."""
    path = os.environ.get("CHROMIUM") or next((p for p in map(shutil.which, NAMES) if p), None)
    assert path, f"the tests of pages need a browser: install chromium, or set CHROMIUM; looked for {', '.join(NAMES)}"
    return path


class Browser:
    """One page. events: all that the browser has told of it: requests, messages of the console, exceptions."""

    def __init__(self, to: int, back: int) -> None:
        self.to, self.back, self.last, self.rest = to, back, 0, b""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.session = self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self.tell(f"{domain}.enable")

    session: str | None = None

    def tell(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the page."""
        return self.ask(method, params, self.session)

    def ask(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self.last += 1
        form = {"id": self.last, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self.to, json.dumps(form).encode() + b"\0")
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            answer = self._next()
            if answer.get("id") == self.last:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)
        raise AssertionError(f"the browser did not answer {method}")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = os.read(self.back, 1 << 16)
            assert part, "the browser is gone"
            self.rest += part
        first, _, self.rest = self.rest.partition(b"\0")
        return dict(json.loads(first))

    def open(self, path: Path, width: int, height: int = 900) -> None:
        """The page in a window so wide, once it is loaded and all of its pictures are decoded."""
        self.events.clear()
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.tell("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + WAIT
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            assert time.monotonic() < end, "the page was not loaded"
            self.events.append(self._next())
        self.value("Promise.all([...document.images].map(i => i.decode().catch(() => 0))).then(() => 1)")

    def value(self, expression: str) -> Any:
        """What an expression has on the page."""
        found = self.tell("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def seen(self, method: str) -> list[dict[str, Any]]:
        """Events of a kind since the page was opened."""
        return [e["params"] for e in self.events if e.get("method") == method]

    def picture(self) -> bytes:
        """A PNG of what is in the window."""
        return base64.b64decode(self.tell("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own, ended afterwards."""
    in_r, in_w = os.pipe()
    out_r, out_w = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", MOVE, str(in_r), str(out_w), found(), *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(in_r, out_w), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(in_r)
        os.close(out_w)
        try:
            yield Browser(in_w, out_r)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(in_w)
            os.close(out_r)

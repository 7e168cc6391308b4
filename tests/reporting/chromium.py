"""A headless Chromium, driven over its debugging pipe by the standard library alone."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "about:blank",
)  # fmt: skip
SECONDS = 20.0

AS_IT_LISTENS = (
    "import fcntl, os, sys; ends = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3]]; "
    "os.dup2(ends[0], 3); os.dup2(ends[1], 4); os.execvp(sys.argv[3], sys.argv[3:])"
)
"""It reads commands from descriptor 3 and answers on 4."""


def program() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One page, with everything that it said and asked for."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers, self._buffer, self._number = commands, answers, b"", 0
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        return self._until(lambda answer: answer.get("id") == self._number)["result"]

    def _until(self, wanted: Any) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while True:
            while b"\0" in self._buffer:
                text, _, self._buffer = self._buffer.partition(b"\0")
                message = json.loads(text)
                assert "error" not in message, message
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    return message
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            more = os.read(self._answers, 2**20)
            assert more, "the browser has ended"
            self._buffer += more

    def open(self, url: str, width: int = 1200, height: int = 900) -> None:
        self.resize(width, height)
        before = len(self.events)
        self.send("Page.navigate", url=url)
        if not any(event["method"] == "Page.loadEventFired" for event in self.events[before:]):
            self._until(lambda message: message.get("method") == "Page.loadEventFired")

    def resize(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def ask(self, expression: str) -> Any:
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def point(self, selector: str) -> tuple[float, float]:
        """Move the mouse onto the middle of an element."""
        x, y = self.ask(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center'}); "
            "const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return x, y

    def click(self, selector: str) -> None:
        x, y = self.point(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, code: int) -> None:
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            said = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self.send("Input.dispatchKeyEvent", **said, **(text if kind == "keyDown" else {}))

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    @property
    def errors(self) -> list[Any]:
        """What the console shows in red, and exceptions that nobody caught."""
        said = [(event["method"], event["params"]) for event in self.events]
        return [
            params
            for method, params in said
            if method == "Runtime.exceptionThrown"
            or (method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"))
            or (method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"))
        ]

    @property
    def fetched(self) -> list[str]:
        events = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in events]


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """A browser with a new profile; ended in the end."""
    commands_in, commands = os.pipe()
    answers, answers_out = os.pipe()
    name, ends = program(), (commands_in, answers_out)
    assert name is not None
    process = subprocess.Popen(
        [sys.executable, "-c", AS_IT_LISTENS, *map(str, ends), name, *OPTIONS, f"--user-data-dir={profile}"],
        pass_fds=ends,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in ends:
        os.close(end)
    try:
        yield Tab(commands, answers)
    finally:
        process.terminate()
        process.wait(10)
        os.close(commands)
        os.close(answers)

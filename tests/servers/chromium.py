"""Headless Chromium, asked over its own debugging pipe: what a page loads, applies and complains
about.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = "chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


@dataclass(frozen=True)
class Seen:
    """One page, loaded."""

    complaints: list[str]
    """What the console shows: errors and warnings, of the policy too."""
    loaded: dict[str, int]
    """The last part of every address, and the status of its answer; 0 where there was none."""
    styles: dict[str, dict[str, str]]
    """Selector to the computed style of the first element it finds."""
    width: int
    """Of the content, in CSS pixels."""


class Browser:
    """A running Chromium."""

    def __init__(self, process: subprocess.Popen[bytes], commands: int, answers: int) -> None:
        self.process = process
        self._commands, self._answers = (
            os.fdopen(commands, "wb", buffering=0),
            os.fdopen(answers, "rb", buffering=0),
        )
        self._number, self._rest = 0, b""
        self._events: list[dict[str, Any]] = []

    def look(self, url: str, *selectors: str, width: int = 1200, dark: bool = False) -> Seen:
        """Load a page in a window of that width."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._events.clear()
        for domain in ("Page", "Log", "Runtime", "Network", "DOM", "CSS"):
            self._ask(f"{domain}.enable", session=session)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._ask("Emulation.setEmulatedMedia", session=session, features=scheme)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._ask("Emulation.setDeviceMetricsOverride", session=session, **metrics)
        self._ask("Page.navigate", session=session, url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._message())
        root = self._ask("DOM.getDocument", session=session)["root"]["nodeId"]
        styles = {selector: self._style(session, root, selector) for selector in selectors}
        size = self._ask("Page.getLayoutMetrics", session=session)["cssContentSize"]
        self._ask("Target.closeTarget", targetId=target)
        return Seen(list(self._complaints()), self._loaded(), styles, round(size["width"]))

    def _style(self, session: str, root: int, selector: str) -> dict[str, str]:
        node = self._ask("DOM.querySelector", session=session, nodeId=root, selector=selector)[
            "nodeId"
        ]
        found = self._ask("CSS.getComputedStyleForNode", session=session, nodeId=node)[
            "computedStyle"
        ]
        return {one["name"]: one["value"] for one in found}

    def _complaints(self) -> Iterator[str]:
        for event in self._events:
            told = event["params"]
            if event["method"] == "Log.entryAdded" and told["entry"]["level"] in (
                "error",
                "warning",
            ):
                yield told["entry"]["text"]
            elif event["method"] == "Runtime.exceptionThrown":
                yield told["exceptionDetails"]["text"]
            elif event["method"] == "Runtime.consoleAPICalled":
                yield str(told["args"])

    def _loaded(self) -> dict[str, int]:
        asked = {
            event["params"]["requestId"]: event["params"]["request"]["url"].rpartition("/")[2]
            for event in self._events
            if event["method"] == "Network.requestWillBeSent"
            and not event["params"]["request"]["url"].startswith("data:")
        }
        found = {name: 0 for name in asked.values() if name != "favicon.ico"}
        for event in self._events:
            name = asked.get(event["params"].get("requestId", ""))
            if event["method"] == "Network.responseReceived" and name in found:
                found[name] = event["params"]["response"]["status"]
        return found

    def _ask(self, method: str, *, session: str = "", **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._commands.write(
            json.dumps({**message, **({"sessionId": session} if session else {})}).encode() + b"\0"
        )
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = self._answers.read(1 << 16)
            assert piece, "the browser is gone"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """End it."""
        self._ask("Browser.close")
        self.process.wait(30)
        self._commands.close()
        self._answers.close()


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A Chromium with a profile of its own in `folder`."""
    pipes = [
        [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
        for ends in (os.pipe(), os.pipe())
    ]
    (their_commands, our_commands), (our_answers, their_answers) = pipes

    def connect() -> None:
        os.dup2(their_commands, 3)
        os.dup2(their_answers, 4)

    with (folder / "chromium.log").open("w") as log:
        process = subprocess.Popen(
            [COMMAND, *FLAGS, f"--user-data-dir={folder / 'profile'}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(3, 4),
            preexec_fn=connect,
        )
    os.close(their_commands)
    os.close(their_answers)
    running = Browser(process, our_commands, our_answers)
    try:
        yield running
    finally:
        running.close()

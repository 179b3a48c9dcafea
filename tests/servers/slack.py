"""Slack's web API as its documentation describes it, with faults on request.

Methods answer 200 with `ok`, also when they refuse; files are uploaded in three steps; some methods
take forms only.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

TOKEN = "xoxb-1234567890-SECRETtoken"
CHANNEL = "C0123456789"
FORMS = ("files.getUploadURLExternal", "conversations.history", "conversations.replies")


class SlackApi(ThreadingHTTPServer):
    """The workspace: its messages, its files, and the faults still to come.

    `faults` holds, by method, what happens to the next calls: ("status", code, headers), ("error",
    name), ("silence",) for no answer and nothing done, ("deaf",) for done but not answered.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Method)
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.messages: list[dict[str, Any]] = []
        self.files: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.faults: dict[str, list[tuple[Any, ...]]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api"

    @property
    def environ(self) -> dict[str, str]:
        """What points `mlops` here."""
        return {
            "MLOPS_SLACK_TOKEN": TOKEN,
            "MLOPS_SLACK_CHANNEL": CHANNEL,
            "MLOPS_SLACK_URL": self.url,
        }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is what tests are about."""

    def texts(self) -> list[str]:
        """The messages' texts, in the order in which they came."""
        return [one["text"] for one in self.messages]

    def answer(self, method: str, content: dict[str, Any]) -> dict[str, Any]:
        """What the method does and says."""
        done = getattr(self, "_" + method.replace(".", "_"), None)
        return done(content) if done else {"ok": False, "error": "unknown_method"}

    def _chat_postMessage(self, content: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Slack's name
        if content.get("channel") != CHANNEL:
            return {"ok": False, "error": "channel_not_found"}
        blocks = content.get("blocks", [])
        texts = [block.get("text", {}).get("text", "") for block in blocks]
        if len(blocks) > 50 or any(len(text) > 3000 for text in texts) or not content.get("text"):
            return {"ok": False, "error": "invalid_blocks"}
        if content.get("thread_ts") and not any(
            one["ts"] == content["thread_ts"] for one in self.messages
        ):
            return {"ok": False, "error": "thread_not_found"}
        ts = f"1700000000.{len(self.messages):06d}"
        self.messages.append({**content, "ts": ts})
        return {"ok": True, "channel": CHANNEL, "ts": ts, "message": {"text": content["text"]}}

    def _conversations_history(self, content: dict[str, Any]) -> dict[str, Any]:
        return {
            "ok": True,
            "messages": [m for m in reversed(self.messages) if not m.get("thread_ts")][:100],
        }

    def _conversations_replies(self, content: dict[str, Any]) -> dict[str, Any]:
        return {
            "ok": True,
            "messages": [
                m for m in self.messages if content["ts"] in (m["ts"], m.get("thread_ts"))
            ],
        }

    def _files_getUploadURLExternal(self, content: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = f"F{len(self.files):08d}"
        self.files[name] = {
            "name": content["filename"],
            "length": int(content["length"]),
            "content": b"",
            "shared": [],
        }
        return {
            "ok": True,
            "file_id": name,
            "upload_url": f"{self.url.removesuffix('/api')}/upload/{name}",
        }

    def _files_completeUploadExternal(self, content: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        for one in content["files"]:
            file = self.files.get(one["id"])
            if file is None or len(file["content"]) != file["length"]:
                return {"ok": False, "error": "file_not_found"}
            file["shared"].append((content.get("channel_id"), content.get("thread_ts")))
        return {"ok": True, "files": content["files"]}


class _Method(BaseHTTPRequestHandler):
    server: SlackApi

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/upload/"):
            with self.server.lock:
                self.server.files[self.path.rpartition("/")[2]]["content"] = body
            return self._say(200, b"OK - 1")
        method = self.path.removeprefix("/api/")
        with self.server.lock:
            self.server.calls.append(method)
            waiting = self.server.faults.get(method)
            fault = waiting.pop(0) if waiting else ("",)
            answer = (
                self._answer(method, body)
                if fault[0] in ("", "deaf")
                else {"ok": False, "error": fault[-1]}
            )
        if fault[0] in ("silence", "deaf"):
            self.server.over.wait(20)
            return None
        if fault[0] == "status":
            return self._say(fault[1], b"", **fault[2])
        return self._say(200, json.dumps(answer).encode())

    def _answer(self, method: str, body: bytes) -> dict[str, Any]:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        kind = self.headers["Content-Type"].partition(";")[0]
        if kind == "application/json" and method in FORMS:
            return {"ok": False, "error": "invalid_arguments"}
        content = (
            json.loads(body)
            if kind == "application/json"
            else {k: v[-1] for k, v in parse_qs(body.decode()).items()}
        )
        return self.server.answer(method, content)

    def _say(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def slack_api() -> Iterator[SlackApi]:
    """A running one."""
    server = SlackApi()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()

"""The messages between the chief of a search and its workers.

They are KerasTuner's protocol over gRPC, with authentication in both directions. A call carries a
nonce and a proof that the caller knows the search's token; the answer carries a proof that the
chief knows it too. The token itself is never sent. They meet at a Unix socket in the run's own
directory, so nothing listens on any network interface. A worker on another machine finds a relay's
socket there (mlops_lib.tuning.call_relay).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import Any, Dict, Mapping

from mlops_lib.runner import protocol
from mlops_lib.runner.search.request import SearchRequest
from mlops_lib.runner.state import atomic

NONCE = f"{protocol.METADATA_PREFIX}nonce"
PROOF = f"{protocol.METADATA_PREFIX}proof"
WORKER = f"{protocol.METADATA_PREFIX}worker"
OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
PAYLOAD_KEY = "mlops"
"""The hyperparameter that holds data for which KerasTuner's messages have no field, as JSON.

Numbers travel in it too, because those of the messages are 32 bits wide.
"""


def channel(request: SearchRequest) -> Any:
    """Return a worker's channel to its chief."""
    import grpc

    return grpc.insecure_channel(socket(request), options=OPTIONS)


def listen(server: Any, request: SearchRequest) -> None:
    """Let a chief's server listen at its socket.

    Raises:
        OSError: the socket cannot be listened at.
    """
    address = socket(request)
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        raise OSError(f"the search's chief cannot listen at {address}") from None


def socket(request: SearchRequest) -> str:
    """Return the address of the socket in the search's directory."""
    # A socket's path may have at most 107 characters, and a run directory may lie deeper than that;
    # the descriptor stays open for as long as gRPC may reconnect.
    folder = os.open(request.directory, os.O_RDONLY | os.O_DIRECTORY)
    return f"unix:/proc/self/fd/{folder}/{protocol.CHIEF_SOCKET}"


def is_over(request: SearchRequest) -> bool:
    """Return whether the chief of this search has ended for good."""
    content = atomic.read_json(os.path.join(request.directory, protocol.SEARCH_OVER))
    # An earlier pass of the same run leaves the same file.
    return isinstance(content, dict) and content.get("pass") == request.number_of_pass


def proof(token: str, side: str, *parts: str) -> str:
    """Return a proof of knowing the token (HMAC-SHA256).

    Args:
        token: the search's secret.
        side: "worker" or "chief"; a proof of one side cannot be sent back as the other's.
        parts: the method, the worker's name and the nonce of the call.
    """
    return hmac.new(token.encode(), json.dumps([side, *parts]).encode(), hashlib.sha256).hexdigest()


def is_proof(proof_text: Any, expected: str) -> bool:
    """Return whether a proof is the expected one, in constant time."""
    return hmac.compare_digest(str(proof_text or "").encode(), expected.encode())


def proto(trial_id: str, status: str, **content: Any) -> Any:
    """Return a KerasTuner trial message with a payload."""
    import keras_tuner
    from keras_tuner.src.engine import trial as trials

    values = keras_tuner.HyperParameters()
    values.values = {PAYLOAD_KEY: json.dumps(content)}
    return trials.Trial(values, trial_id=trial_id, status=status).to_proto()


def payload(trial: Any) -> Dict[str, Any]:
    """Return the payload of a trial message; empty if it has none.

    Raises:
        ValueError: the payload is no JSON.
    """
    text = trial.hyperparameters.values.values[PAYLOAD_KEY].string_value
    content = json.loads(text or "{}")
    return content if isinstance(content, dict) else {}


NUMBER = (int, float)
RECORD: Dict[str, Any] = {
    "number": (int,),
    "parent": (int, type(None)),
    "edits": (list,),
    "hyperparameters": (dict,),
    "inherited": (str,),
    "state": (str,),
    "score": (*NUMBER, type(None)),
    "epochs": (int,),
    "seconds": NUMBER,
    "parameters": (int, type(None)),
    "curve": (list,),
    "message": (str,),
    "worker": (str,),
}
"""The keys of a trial's record, with the types of their values."""
LARGEST = 1 << 53
"""The largest integer up to which a float is exact."""
STATES = ("finished", "stopped", "failed", "invalid")


class MalformedError(ValueError):
    """A worker's message is not of the form that the chief works with."""


def record_of(trial: Any) -> Dict[str, Any]:
    """Return the record of a finished trial from a worker's message.

    A worker shares its process with the script, so every value is checked; unknown keys are
    dropped.

    Raises:
        MalformedError: there is no valid record in it.
    """
    try:
        record = payload(trial)["record"]
    except (KeyError, ValueError, RecursionError):
        raise MalformedError("there is no record in it") from None
    if not isinstance(record, dict):
        raise MalformedError("its record is no object")
    for key, kinds in RECORD.items():
        if key not in record or not isinstance(record[key], kinds) or isinstance(record[key], bool):
            raise MalformedError(f"its record has a wrong or no {key!r}")
    numbers = [
        record[key] for key in ("number", "score", "epochs", "seconds") if record[key] is not None
    ]
    curve = record["curve"]
    is_sound = all(_is_sound(number) for number in numbers)
    if not is_sound or not all(isinstance(score, NUMBER) for score in curve):
        raise MalformedError("its record has a number that is none, or too large")
    if (
        record["state"] not in STATES
        or min(record["number"], record["epochs"], record["seconds"]) < 0
    ):
        raise MalformedError("its record is of a trial that cannot have ended so")
    return {key: record[key] for key in RECORD}


def _is_sound(value: Any) -> bool:
    return isinstance(value, NUMBER) and not isinstance(value, bool) and abs(value) <= LARGEST


def number_of(trial_id: str) -> int:
    """Return the number of the trial in a worker's message.

    Raises:
        MalformedError: it is no number.
    """
    # Not `int` alone: it accepts signs, spaces, underscores and digits of other scripts.
    if not (trial_id.isascii() and trial_id.isdecimal() and len(trial_id) <= 9):
        raise MalformedError("it names no trial")
    return int(trial_id)


def curve_as_metrics(curve: Any, seconds: float) -> Mapping[str, float]:
    """Return a curve as the metrics of KerasTuner's message."""
    return {"seconds": seconds, **{str(epoch): float(value) for epoch, value in enumerate(curve)}}


def metrics_as_curve(metrics: Mapping[str, float]) -> Any:
    """Return the curve and the seconds from the metrics of a message.

    Raises:
        MalformedError: they do not come from `curve_as_metrics`.
    """
    # In protobuf's map a missing key is 0; in a dict it is an error.
    metrics = dict(metrics)
    try:
        curve = [float(metrics[str(i)]) for i in range(len(metrics) - 1)]
        seconds = float(metrics["seconds"])
    except (KeyError, ValueError, TypeError):
        raise MalformedError("its metrics are no curve") from None
    # Also false for NaN, with which a budget would never be used up.
    if not 0 <= seconds <= LARGEST:
        raise MalformedError("its training time is none")
    return curve, seconds

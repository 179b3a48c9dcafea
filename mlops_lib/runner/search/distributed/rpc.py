"""What the chief of a search and its workers say to each other: KerasTuner's own protocol (gRPC),
authenticated.

A call carries a nonce and the proof that the caller knows the search's token; the answer carries
the proof that the chief knows it too. The token itself is never sent. On one machine they meet at a
socket in the run's own directory, so nothing listens on any network interface. Over a network it is
TLS, and both sides show a certificate of the search's own authority.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import Any, Dict, List, Mapping

from mlops_lib.runner import protocol
from mlops_lib.runner.search.request import SearchRequest
from mlops_lib.runner.state import atomic

SOCKET = "chief.sock"
CHIEF = "chief.mlops.invalid"
"""The name in the chief's certificate."""
NONCE = "mlops-nonce"
PROOF = "mlops-proof"
WORKER = "mlops-worker"
OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A machine that disappears closes nothing: what does not answer for 15 s is gone.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
)
KEY = "mlops"
"""The hyperparameter whose value holds what KerasTuner's messages have no place for, as JSON: its
numbers are 32 bits wide.
"""


def channel(request: SearchRequest) -> Any:
    """A worker's way to its chief.

    Raises:
        ValueError: it leads over a network, and there is no certificate.
    """
    import grpc

    if not request.chief:
        return grpc.insecure_channel(socket(request), options=OPTIONS)
    authority, certificate, key = _shown(request)
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    named = ("grpc.ssl_target_name_override", CHIEF)
    return grpc.secure_channel(request.chief, credentials, options=[*OPTIONS, named])


def listen(server: Any, request: SearchRequest) -> None:
    """Let a chief's server listen at its socket, and at the given address for those who show a
    certificate of this search.

    Raises:
        OSError: it cannot.
        ValueError: there is no certificate.
    """
    import grpc

    places: Dict[str, Any] = {socket(request): None}
    if request.listen:
        authority, certificate, key = _shown(request)
        places[request.listen] = grpc.ssl_server_credentials(
            [(key, certificate)], authority, require_client_auth=True
        )
    for place, credentials in places.items():
        try:
            if credentials is None:
                server.add_insecure_port(place)
            else:
                server.add_secure_port(place, credentials)
        except RuntimeError:
            raise OSError(f"the search's chief cannot listen at {place}") from None


def _shown(request: SearchRequest) -> List[bytes]:
    try:
        return [request.tls[name].encode() for name in ("authority", "certificate", "key")]
    except KeyError:
        raise ValueError(
            "a search over a network needs certificates, and its orders hold none"
        ) from None


def is_foreign(details: str) -> bool:
    """Whether what gRPC says of a call that failed is that who answers is not this search's chief."""
    return any(
        word in details
        for word in ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "Hostname Verification")
    )


def socket(request: SearchRequest) -> str:
    """The socket in the search's directory, where the workers of one machine and their chief meet."""
    # The path of a socket may have 107 characters only, however deep the run directory is.
    folder = os.open(request.directory, os.O_RDONLY | os.O_DIRECTORY)
    return f"unix:/proc/self/fd/{folder}/{SOCKET}"


def is_over(request: SearchRequest) -> bool:
    """Whether the chief of this search has gone for good."""
    found = atomic.read_json(os.path.join(request.directory, protocol.SEARCH_OVER))
    return isinstance(found, dict) and found.get("pass") == request.number_of_pass


def proof(token: str, side: str, *parts: str) -> str:
    """What only somebody who knows the token can say."""
    return hmac.new(token.encode(), json.dumps([side, *parts]).encode(), hashlib.sha256).hexdigest()


def is_proof(given: Any, expected: str) -> bool:
    """Whether it is the proof that was expected, in a time that tells nothing."""
    return hmac.compare_digest(str(given or "").encode(), expected.encode())


def proto(trial_id: str, status: str, **said: Any) -> Any:
    """A trial as KerasTuner sends it, with what is said about it."""
    import keras_tuner
    from keras_tuner.src.engine import trial as trials

    values = keras_tuner.HyperParameters()
    values.values = {KEY: json.dumps(said)}
    return trials.Trial(values, trial_id=trial_id, status=status).to_proto()


def said(trial: Any) -> Dict[str, Any]:
    """What was said in a trial that came over the wire."""
    found = json.loads(trial.hyperparameters.values.values[KEY].string_value or "{}")
    return found if isinstance(found, dict) else {}


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
"""What a trial's record has to hold."""
LARGEST = 1 << 53
STATES = ("finished", "stopped", "failed", "invalid")


class MalformedError(ValueError):
    """A worker's message does not have the form that the chief works with."""


def record_of(trial: Any) -> Dict[str, Any]:
    """The record of a trial that a worker says has ended.

    Raises:
        MalformedError: it is none.
    """
    try:
        record = said(trial)["record"]
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
    if not all(_is_sound(one) for one in numbers) or not all(
        isinstance(one, NUMBER) for one in curve
    ):
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
    """The number of the trial that a worker names.

    Raises:
        MalformedError: it is none.
    """
    if not (trial_id.isascii() and trial_id.isdecimal() and len(trial_id) <= 9):
        raise MalformedError("it names no trial")
    return int(trial_id)


def curve_as_metrics(curve: Any, seconds: float) -> Mapping[str, float]:
    """A curve as the metrics of KerasTuner's message."""
    return {"seconds": seconds, **{str(epoch): float(value) for epoch, value in enumerate(curve)}}


def metrics_as_curve(metrics: Mapping[str, float]) -> Any:
    """The curve and the seconds in such metrics.

    Raises:
        MalformedError: they are no such metrics.
    """
    metrics = dict(metrics)  # of a message, one that is missing would be 0
    try:
        curve = [float(metrics[str(i)]) for i in range(len(metrics) - 1)]
        seconds = float(metrics["seconds"])
    except (KeyError, ValueError, TypeError):
        raise MalformedError("its metrics are no curve") from None
    if not 0 <= seconds <= LARGEST:  # also if it is no number: a budget would never be used up
        raise MalformedError("its training time is none")
    return curve, seconds

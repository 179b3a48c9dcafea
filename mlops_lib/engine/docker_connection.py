"""The connection to the Docker engine, and the conversion of its failures."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from mlops_lib.errors import EngineError, EngineLostError

TIMEOUT_S = 60
UNAVAILABLE_STATUSES = (502, 503, 504)
"""HTTP statuses of an engine that is starting or stopping."""

T = TypeVar("T")


class DockerConnection:
    """One connection, made at the first request."""

    def __init__(self) -> None:
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The SDK's client; it is made at the first use."""
        if self._client is None:
            self._client = _connect()
        return self._client

    def call(self, request: Callable[[], T]) -> T:
        """Make a request, and convert its failures.

        A missing object still raises the SDK's NotFound; all other failures become errors of this
        package.
        """
        import docker.errors
        import requests

        try:
            return request()
        except docker.errors.NotFound:
            raise
        except docker.errors.APIError as error:
            reason = f"Docker refused: {error.explanation or error}"
            kind = EngineLostError if error.status_code in UNAVAILABLE_STATUSES else EngineError
            raise kind(reason, remedy="`docker info` and its log say more.") from None
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise _unreachable(error) from None

    def inspect(self, container_id: str) -> Any:
        """Return the SDK's container, None if the engine does not know it."""
        import docker.errors

        try:
            return self.call(lambda: self.client.containers.get(container_id))
        except docker.errors.NotFound:
            return None


def _connect() -> Any:
    """Connect to the engine of the `docker` command: DOCKER_HOST, else its context's."""
    import docker
    from docker.context import ContextAPI
    from docker.errors import DockerException

    try:
        if os.environ.get("DOCKER_HOST"):
            return docker.from_env(timeout=TIMEOUT_S)
        context = ContextAPI.get_current_context()
        if context is None or context.Name == "default":
            return docker.from_env(timeout=TIMEOUT_S)
        return docker.DockerClient(
            base_url=context.Host, tls=context.TLSConfig or False, timeout=TIMEOUT_S
        )
    except DockerException as error:
        raise _unreachable(error) from None


def _unreachable(error: Exception) -> EngineLostError:
    reason = str(error)[:300]
    remedy = "Start it (`systemctl start docker`), or use --backend process."
    if "ermission denied" in reason:
        remedy = (
            "Let this user talk to it (`usermod -aG docker USER`, then log in again), or use"
            " --backend process."
        )
    return EngineLostError(f"Docker does not answer: {reason}", remedy=remedy)

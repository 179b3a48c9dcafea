"""The network of trainings: the internet, but neither each other nor this machine.

Link-local addresses are closed too. A container starts in a network without a way out. A
short-lived helper container, of an image without project code, closes addresses by routing rules,
which a training has no capability to change. Only then it is connected to the network that leads
out, so that no program of the training ever runs in an open one. The runner waits for the
connection before it starts the script.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from mlops_lib.engine import buildkit
from mlops_lib.engine.image_store import LABEL_ENVIRONMENT
from mlops_lib.environments import images
from mlops_lib.errors import EngineError

ISOLATED = "isolated"
"""Value of the setting that selects this.

Any other value names one of the engine's networks.
"""
OPEN = "mlops-open"
CLOSED = "mlops-closed"
LABEL = "org.mlops-lib.network"
_ICC = "com.docker.network.bridge.enable_icc"
_WITHOUT_HOST = "com.docker.network.bridge.inhibit_ipv4"
OPTIONS: Mapping[str, Mapping[str, str]] = {
    OPEN: {_ICC: "false"},
    # Its bridge has no address: from here not even the engine's machine can be reached.
    CLOSED: {_ICC: "false", _WITHOUT_HOST: "true"},
}
REFUSED = (
    "169.254.0.0/16",  # link-local: the metadata of clouds, with the machine's credentials
    "fe80::/10",
    "fd00:ec2::/32",  # the same of AWS, by IPv6
    "100.100.100.200/32",  # of Alibaba
    "192.0.0.192/32",  # of Oracle
)
ADDRESSES_S = 60.0
"""Seconds for which the addresses of the engine's machine are cached."""
HELPER_S = 60
REMEDY = (
    "Give --network none, or the name of one of the engine's networks (bridge), which closes"
    " nothing."
)


class Network:
    """The isolated network of one engine."""

    def __init__(self, client: Any, *, base_image: str) -> None:
        self._client = client
        self._base_image = base_image
        self._addresses: dict[str, list[str]] = {}
        self._asked = 0.0

    def prepare(self) -> str:
        """Create the networks if missing.

        Return the name of the one that a container starts in.

        Raises:
            EngineError: a network of that name exists that this package did not create.
        """
        for name in (OPEN, CLOSED):
            self._ensure(name)
        return CLOSED

    def gateway(self) -> str:
        """Return the gateway of the inner network; any other gateway leads out."""
        return next(iter(_gateways(self._ensure(CLOSED))), "")

    def open(self, container: Any) -> None:
        """Close forbidden addresses to a started container, then connect it.

        Args:
            container: the container.

        Raises:
            EngineError: that is not possible; the container is in no open network then.
        """
        import docker.errors

        try:
            self._close(container)
            self._ensure(CLOSED).disconnect(container)  # first: each network brings a default route
            self._ensure(OPEN).connect(container)
        except (docker.errors.APIError, EngineError) as error:
            container.reload()
            if container.status in ("running", "paused"):
                raise EngineError(
                    f"its network cannot be closed: {error}", where=OPEN, remedy=REMEDY
                ) from None

    def _ensure(self, name: str) -> Any:
        # Docker allows several networks of one name, which two programs can make at the same time.
        # All programs then have to agree on one of them.
        networks = sorted(
            self._client.networks.list(names=[f"^{name}$"]), key=lambda candidate: str(candidate.id)
        )
        if not networks:
            self._make(name)
            networks = self._client.networks.list(names=[f"^{name}$"])
        network = networks[0]
        # The list has no options of a network; an inspection has.
        network.reload()
        # A network that another program made under this name could be open.
        sound = network.attrs["Options"].get(_ICC) == "false" and not network.attrs.get(
            "EnableIPv6"
        )
        if not sound or bool(network.attrs.get("Internal")) != (name == CLOSED):
            raise EngineError(
                "a network of that name is not as this program makes it",
                where=name,
                remedy=f"Remove it (`docker network rm {name}`); it is made again.",
            )
        return network

    def _make(self, name: str) -> None:
        import docker.errors

        try:
            self._client.networks.create(
                name,
                driver="bridge",
                internal=name == CLOSED,
                options=dict(OPTIONS[name]),
                enable_ipv6=False,
                check_duplicate=True,
                labels={LABEL: name},
            )
        except docker.errors.APIError as error:
            if error.status_code != 409:  # else another program was first
                raise

    def _close(self, container: Any) -> None:
        about = self._machine()
        # The gateway is this machine, and also the way out: packets may pass it, but must not end
        # there.
        gateways = _gateways(self._ensure(OPEN))
        own = self._machine_addresses(about)
        refused = [
            *REFUSED,
            *(_single_address(address) for address in own if address not in gateways),
        ]
        closed = [*refused, *map(_single_address, gateways)]
        # A name server on this machine would be closed with it, and no name could be resolved any
        # more.
        servers = [
            address
            for address in about["servers"]
            if _is_in(address, closed) and not ipaddress.ip_address(address).is_loopback
        ]
        order = {
            "closed": refused,
            "gateways": [*map(_single_address, gateways)],
            "servers": [*map(_single_address, servers)],
        }
        self._run(
            ["close", json.dumps(order)],
            network_mode=f"container:{container.id}",
            # The helper shares the container's network, so what it closes is closed there; the
            # container itself has no capability to open it again.
            cap_add=["NET_ADMIN"],
        )

    def _machine_addresses(self, about: Mapping[str, list[str]]) -> list[str]:
        """Return the addresses of the engine's machine, and the gateways of its networks."""
        gateways = {
            address for network in self._client.networks.list() for address in _gateways(network)
        }
        return sorted({*about["own"], *gateways})

    def _machine(self) -> dict[str, list[str]]:
        if not self._addresses or time.monotonic() - self._asked > ADDRESSES_S:
            self._addresses = json.loads(self._run(["addresses"], network_mode="host"))
            self._asked = time.monotonic()
        return self._addresses

    def _run(self, command: list[str], **options: Any) -> str:
        """Run the helper program; return its output."""
        helper = self._client.containers.create(
            self._image(),
            command,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            # The helper needs no proxy, whose address may hold a password.
            use_config_proxy=False,
            user="0:0",
            **options,
        )
        try:
            helper.start()
            status = helper.wait(timeout=HELPER_S)["StatusCode"]
            output = helper.logs(stdout=True, stderr=bool(status), tail=50).decode(errors="replace")
        finally:
            helper.remove(force=True)
        if status:
            raise EngineError(
                output.strip().splitlines()[-1] if output.strip() else f"status {status}"
            )
        return str(output)

    def _image(self) -> str:
        files = {
            name: (images.CONTAINERS / name).read_bytes()
            for name in ("Dockerfile.network", "network.py")
        }
        content = b"\0".join([self._base_image.encode(), *files.values()])
        files["Dockerfile"] = files.pop("Dockerfile.network")
        tag = f"mlops/network:{hashlib.sha256(content).hexdigest()[:16]}"
        return buildkit.helper_image(
            self._client,
            tag,
            files,
            base_image=self._base_image,
            labels={LABEL_ENVIRONMENT: "network"},
        )


def _gateways(network: Any) -> list[str]:
    configured = (network.attrs.get("IPAM") or {}).get("Config") or ()
    return [
        str(config["Gateway"]).partition("/")[0] for config in configured if config.get("Gateway")
    ]


def _single_address(address: str) -> str:
    """Return the network that contains one address only."""
    return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"


def _is_in(address: str, networks: Iterable[str]) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(
        parsed in ipaddress.ip_network(network)
        for network in networks
        if ipaddress.ip_network(network).version == parsed.version
    )

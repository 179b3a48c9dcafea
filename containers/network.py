"""What a training must not reach: `python -I -S network.py addresses`, `python -I -S network.py close JSON`.

The first runs in the engine's own network and prints, as JSON, the addresses of its machine and its name servers. The second
runs in a training's network, before that leads anywhere, and makes addresses unreachable there: by routing rules, which the
training cannot change without a capability. Only the standard library; Linux.
"""

import ipaddress
import json
import os
import socket
import struct
import sys

NLMSG_HEADER, RULE_HEADER = "IHHII", "BBBBBBBBI"
RTM_NEWRULE, REQUEST, ACKNOWLEDGE, CREATE = 32, 0x1, 0x4, 0x400
TO_TABLE, UNREACHABLE, MAIN = 1, 7, 254
FRA_DST, FRA_PRIORITY, FRA_IP_PROTO, FRA_DPORT_RANGE = 1, 6, 22, 24
NAMES, CLOSED = 100, 200
"""Priorities: a name server is asked before its address is refused."""
DNS, ANY_PORT = 53, (1, 65534)  # the kernel takes no range that ends with the last one
PROTOCOLS = (1, 6, 17, 33, 132, 136)
"""ICMP, TCP, UDP, DCCP, SCTP, UDP-Lite: what sockets without a capability can send."""


def attribute(kind, value):
    """Return one netlink attribute, padded."""
    content = struct.pack("HH", 4 + len(value), kind) + value
    return content + b"\0" * (-len(content) % 4)


def add_rule(network, action, priority, protocol=0, ports=None):
    """Add a routing rule for what goes to a network; raises OSError."""
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    table = MAIN if action == TO_TABLE else 0
    body = struct.pack(RULE_HEADER, family, network.prefixlen, 0, 0, table, 0, 0, action, 0)
    body += attribute(FRA_DST, network.network_address.packed) + attribute(FRA_PRIORITY, struct.pack("I", priority))
    if protocol:
        body += attribute(FRA_IP_PROTO, struct.pack("B", protocol))
    if ports:
        body += attribute(FRA_DPORT_RANGE, struct.pack("HH", *ports))
    size = struct.calcsize(NLMSG_HEADER) + len(body)
    header = struct.pack(NLMSG_HEADER, size, RTM_NEWRULE, REQUEST | ACKNOWLEDGE | CREATE, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.bind((0, 0))
        kernel.send(header + body)
        answer = kernel.recv(1 << 16)
    (status,) = struct.unpack_from("i", answer, struct.calcsize(NLMSG_HEADER))
    if status:
        raise OSError(-status, os.strerror(-status), str(network))


def has_ipv6():
    """Return whether any interface but the loopback one has an address of version 6."""
    try:
        with open("/proc/net/if_inet6") as stream:
            return any(line.split()[-1] != "lo" for line in stream)
    except OSError:
        return False


def close(order):
    """Make networks unreachable, but for name servers in them."""
    for text in order["servers"]:
        for protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
            add_rule(ipaddress.ip_network(text), TO_TABLE, NAMES, protocol, (DNS, DNS))
    # The engine looks up the way to a gateway (for UDP, to port 0) before it adds the route by it: only what is sent is refused.
    for text in order["gateways"]:
        for protocol in PROTOCOLS:
            add_rule(ipaddress.ip_network(text), UNREACHABLE, CLOSED, protocol, ANY_PORT if protocol == socket.IPPROTO_UDP else None)
    for text in order["closed"]:
        network = ipaddress.ip_network(text)
        try:
            add_rule(network, UNREACHABLE, CLOSED)
        except OSError:
            if network.version == 4 or has_ipv6():
                raise


def own_addresses():
    """Return this machine's addresses, the loopback ones left out."""
    found = set()
    with open("/proc/net/fib_trie") as stream:
        last = ""
        for line in stream:
            words = line.split()
            if words[:2] == ["|--", words[-1]]:
                last = words[-1]
            elif words[:3] == ["/32", "host", "LOCAL"]:
                found.add(last)
    try:
        with open("/proc/net/if_inet6") as stream:
            found.update(str(ipaddress.ip_address(bytes.fromhex(line.split()[0]))) for line in stream)
    except OSError:
        pass
    return sorted(one for one in found if not ipaddress.ip_address(one).is_loopback)


def name_servers():
    """Return the addresses of this machine's name servers."""
    found = []
    with open("/etc/resolv.conf") as stream:
        for line in stream:
            words = line.split("#")[0].split()
            if words[:1] == ["nameserver"] and len(words) > 1:
                try:
                    found.append(str(ipaddress.ip_address(words[1].partition("%")[0])))
                except ValueError:
                    continue
    return found


if __name__ == "__main__":
    if sys.argv[1] == "addresses":
        print(json.dumps({"own": own_addresses(), "servers": name_servers()}))
    else:
        close(json.loads(sys.argv[2]))

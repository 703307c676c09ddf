"""Addresses of servers: written `host:port`, chosen free on loopback, and one piece of files."""

from __future__ import annotations

import contextlib
import random
import socket
from dataclasses import dataclass
from pathlib import Path
from string import Template

# Below the ports the kernel hands out by itself: while a server is down between kill and restart,
# no client's connection may happen to take its port.
FIRST_PORT, LAST_PORT = 12_000, 32_000
HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a server listens for clients."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse(text: str) -> tuple[Address, ...]:
    """Addresses written `host:port`, comma-separated; raises ValueError with the part at fault."""
    return tuple(_one(part.strip()) for part in text.split(",") if part.strip())


def _one(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65_536):
        raise ValueError(f"{text!r} is no server's address: write host:port, as in 127.0.0.1:9042")
    return Address(host=host, port=int(port))


def hosts(count: int) -> tuple[str, ...]:
    """Loopback addresses for a cluster: one server on .1, several on .2 and up."""
    return ("127.0.0.1",) if count == 1 else tuple(f"127.0.0.{2 + n}" for n in range(count))


def free_ports(count: int, hosts: tuple[str, ...]) -> tuple[int, ...]:
    """Different ports that are free on every one of the hosts just now."""
    chosen: set[int] = set()
    candidates = list(range(FIRST_PORT, LAST_PORT))
    random.SystemRandom().shuffle(candidates)
    for port in candidates:
        if len(chosen) == count:
            break
        if all(_is_free(host, port) for host in hosts):
            chosen.add(port)
    return tuple(chosen)


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind((host, port))
        return True
    return False


def write_from_template(template: str, target: Path, facts: dict[str, object]) -> None:
    """Fills in a template of this folder; a `${name}` without a fact is a KeyError."""
    target.write_text(Template((HERE / template).read_text()).substitute(facts))

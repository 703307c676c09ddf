"""What a session needs to know to reach ZooKeeper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from timeball.errors import InvalidRequest

DEFAULT_ROOT: Final = "/timeball"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files of an encrypted connection, in PEM form. `ca` None = the system's authorities."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_password: str | None = None
    check_hostname: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooKeeperOptions:
    """Where ZooKeeper is and how to talk to it.

    Attributes:
        hosts: `host:port`, comma-separated.
        root: the entry below which everything of this cluster lives (also called chroot).
        session_timeout_ms: what to ask for; the server may answer with another one.
        connect_within_ms: how long opening a session may take.
        stall_limit_ms: how long the event loop may stand still before the session is closed;
            None = as long as the session timeout.
        recheck_ms: how often it is checked that no watch was missed.
        user, password: digest credentials; entries are then readable and writable by this user
            alone. Empty = open entries.
        tls: files for an encrypted connection, None for a plain one.
    """

    hosts: str
    root: str = DEFAULT_ROOT
    session_timeout_ms: int = 4_000
    connect_within_ms: int = 10_000
    stall_limit_ms: int | None = None
    recheck_ms: int = 5_000
    user: str = ""
    password: str = ""
    tls: Tls | None = None

    def __repr__(self) -> str:
        """Never with the password."""
        return f"ZooKeeperOptions(hosts={self.hosts!r}, root={self.root!r}, user={self.user!r})"


def parse_address(text: str) -> tuple[str, str]:
    """Split `host:port,host:port/root` into hosts and root; without a root it is `/timeball`.

    Raises:
        InvalidRequest: no host, or a root that ZooKeeper would refuse.
    """
    hosts, slash, root = text.strip().partition("/")
    if not hosts:
        raise InvalidRequest(f"{text!r} names no ZooKeeper host: write host:port,host:port/root")
    path = slash + root.rstrip("/")
    if path in ("", "/"):
        return hosts, DEFAULT_ROOT
    if any(part in ("", ".", "..") for part in path[1:].split("/")):
        raise InvalidRequest(f"{path!r} is no ZooKeeper path: write it like /prod/timeball")
    return hosts, path

"""Where the database is and how long to wait for it. Numbers only; reads no file or environment."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from timeball.errors import InvalidRequest

DEFAULT_PORT: Final = 9042
DEFAULT_KEYSPACE: Final = "timeball"
_PLAIN_NAME: Final = re.compile("[a-z][a-z0-9_]{0,47}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Facts that may not differ. Empty, 0 and none = whatever stands there.

    `replicas` maps data centers to copies.
    """

    cluster_name: str = ""
    shard_count: int = 0
    replicas: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_anything(self) -> bool:
        """Whether nothing needs to be looked at."""
        return self == Expected()


@dataclass(frozen=True, slots=True, kw_only=True)
class CassandraConfig:
    """How to reach one keyspace.

    `contact_points` are hosts without a port; the driver finds the other nodes. An empty
    `datacenter` means that of the contact points. `request_timeout_ms` must be longer than the
    servers' own timeouts, so that their answer, which says more, comes first. `expected` are facts
    of the cluster that a store refuses to open without.
    """

    contact_points: tuple[str, ...]
    port: int = DEFAULT_PORT
    keyspace: str = DEFAULT_KEYSPACE
    datacenter: str = ""
    username: str = ""
    password: str = ""
    ssl_context: ssl.SSLContext | None = None
    request_timeout_ms: int = 1_500
    connect_deadline_ms: int = 60_000
    expected: Expected = field(default_factory=Expected)

    def __post_init__(self) -> None:
        """Refuse a keyspace that would have to be quoted: its name is part of statements.

        Raises:
            InvalidRequest: the name is not plain.
        """
        if not _PLAIN_NAME.fullmatch(self.keyspace):
            raise InvalidRequest(
                f"{self.keyspace!r} cannot be the keyspace: use lower-case letters, digits and _, "
                "up to 48, beginning with a letter."
            )

    @property
    def address(self) -> str:
        """The contact points as people write them."""
        return ", ".join(f"{host}:{self.port}" for host in self.contact_points)

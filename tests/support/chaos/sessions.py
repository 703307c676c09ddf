"""Ending somebody's ZooKeeper session from outside, as the service does when it hears nothing.

A second client with the session's number and password takes it over and closes it. The number is
written in every entry that the session made; the server makes the password from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from kazoo.client import KazooClient

from tests.support.servers.zookeeper_nodes import CONNECT_TIMEOUT_S, session
from timeball_server.coordination.zookeeper.layout import Layout
from timeball_server.core.ids import NodeId
from timeball_server.ports.coordination import Role

SECRET: Final = 0xB3415C00
"""What every ZooKeeper server mixes into passwords; it is in its public source."""
PASSWORD_BYTES: Final = 16
_MASK: Final = (1 << 48) - 1


def session_of(endpoints: str, root: str, role: Role, node: str) -> int:
    """The session that made a member's entry."""
    with session(endpoints) as client:
        _, facts = client.get(Layout(root).member(role, NodeId(node)))
        return int(facts.ephemeralOwner)


def end_session(endpoints: str, number: int) -> None:
    """Take a session over and close it.

    Raises:
        AssertionError: the server gave us another session, so this one had ended already.
    """
    client = KazooClient(hosts=endpoints, client_id=(number, password_of(number)))
    try:
        client.start(timeout=CONNECT_TIMEOUT_S)
        taken = client.client_id
        assert taken is not None
        assert taken[0] == number, f"session {number:#x} is not there any more"
    finally:
        client.stop()
        client.close()


def password_of(number: int) -> bytes:
    """The password that a server gives to a session."""
    words = islice(java_random(number ^ SECRET), PASSWORD_BYTES // 4)
    return b"".join(word.to_bytes(4, "little") for word in words)


def java_random(seed: int) -> Iterator[int]:
    """Java's generator of random 32-bit numbers, whose formula its documentation fixes."""
    state = (seed ^ 0x5DEECE66D) & _MASK
    while True:
        state = (state * 0x5DEECE66D + 0xB) & _MASK
        yield state >> 16

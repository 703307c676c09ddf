"""The clients that `Task.submit` goes through when nobody names one.

One synchronous client for the process, one asynchronous client for each event loop; both are made
from the environment at first use unless `connect` or `use` came before.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypedDict, Unpack

if TYPE_CHECKING:
    from timeball.async_client import AsyncClient
    from timeball.client import Client

    Loop = asyncio.AbstractEventLoop

_lock = threading.Lock()
_of_loops: dict[Loop, AsyncClient] = {}
_of_process: list[Client] = []


class Connection(TypedDict, total=False):
    """Where to connect and as whom; what is left out comes from the environment."""

    api_key: str
    namespace: str


def connect(address: str | None = None, **connection: Unpack[Connection]) -> AsyncClient:
    """A client for the running event loop, which becomes its default.

    Args:
        address: host:port; default TIMEBALL_ADDRESS, else 127.0.0.1:7466.
        connection: api_key and namespace; default TIMEBALL_API_KEY and TIMEBALL_NAMESPACE.

    Raises:
        InvalidRequest: a setting cannot be meant.
        RuntimeError: no event loop is running; use connect_sync there.
    """
    from timeball.async_client import AsyncClient

    client = AsyncClient(address, **connection)
    use(client)
    return client


def connect_sync(address: str | None = None, **connection: Unpack[Connection]) -> Client:
    """A synchronous client, which becomes the process's default; arguments as connect."""
    from timeball.client import Client

    client = Client(address, **connection)
    use(client)
    return client


def use(client: AsyncClient | Client) -> None:
    """Makes a client the default: an asynchronous one of the running loop, else of the process."""
    from timeball.client import Client

    with _lock:
        if isinstance(client, Client):
            _of_process[:] = [client]
        else:
            # A client lives as long as its loop, and nothing tells when a loop ends.
            for loop in [loop for loop in _of_loops if loop.is_closed()]:
                del _of_loops[loop]
            _of_loops[asyncio.get_running_loop()] = client


def default_async_client() -> AsyncClient:
    """The running loop's client."""
    with _lock:
        known = _of_loops.get(asyncio.get_running_loop())
    return known or connect()


def default_client() -> Client:
    """The process's synchronous client."""
    with _lock:
        known = _of_process[:]
    return known[0] if known else connect_sync()

"""What a command needs to talk to the service; connects when first asked, and closes at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timeball.client import Client

# Shorter than the SDK's: a person is waiting.
DEADLINE_DEFAULT = "5s"


def _connect(session: Session) -> Client:
    from timeball.client import Client

    return Client(session.address, namespace=session.namespace, deadline=session.deadline)


class Session:
    """The options of the root command and the client made from them.

    Args:
        connect: makes the client; tests pass one of their own.
    """

    def __init__(self, connect: Callable[[Session], Client] = _connect) -> None:
        self.address: str | None = None
        self.namespace: str | None = None
        self.deadline = DEADLINE_DEFAULT
        self._connect = connect
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client, connected at first use."""
        if self._client is None:
            self._client = self._connect(self)
        return self._client

    def close(self) -> None:
        """Closes the client if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

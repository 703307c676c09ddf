"""One kazoo client that fails fast, never outlives its session, and needs one thread.

Owns everything that touches kazoo's inside, which behaves otherwise as shipped:

- requests made while the connection is down would be queued and sent after it is back: refused;
- a new session would be opened after the old one expired: the client ends instead;
- answers and watch events would arrive by two worker threads, out of order: both are handed
  over by the connection thread itself, in the server's order;
- connecting would take as long as the whole session timeout: a third of it at most.

Never calls anything that waits from the connection thread.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from kazoo.client import CLOSED_STATES, KazooClient
from kazoo.exceptions import ConnectionLoss, SessionExpiredError
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import CloseInstance, Connect
from kazoo.protocol.states import KeeperState
from kazoo.retry import KazooRetry
from kazoo.security import make_digest_acl

from timeball_server.coordination.zookeeper.options import Tls, ZooKeeperOptions
from timeball_server.ports.coordination import SessionState

CONNECTS_PER_TIMEOUT: Final = 3
"""One attempt to connect may take this part of the session timeout."""
FIRST_RETRY_S: Final = 0.05
LONGEST_RETRY_S: Final = 1.0


class InlineHandler(SequentialThreadingHandler):  # type: ignore[misc]
    """Runs answers and watches on the thread that received them; our callbacks never wait."""

    def __init__(self, connect_timeout_s: float) -> None:
        super().__init__()
        self.connect_timeout_s = connect_timeout_s

    def start(self) -> None:
        """No workers: while a handler is not running, kazoo calls back at once."""

    def stop(self) -> None:
        """Nothing was started."""

    def dispatch_callback(self, callback: Any) -> None:
        """Hand over a watch event now."""
        callback.func(*callback.args)

    def spawn(self, func: Any, *args: Any, **options: Any) -> threading.Thread:
        """Start the connection's thread, with a name that tells whose it is."""
        thread: threading.Thread = super().spawn(func, *args, **options)
        thread.name = f"zookeeper session: {func.__name__}"
        return thread

    def create_connection(self, *args: Any, timeout: float, **options: Any) -> Any:
        """Connect, in less time than kazoo would give it."""
        return super().create_connection(
            *args, timeout=min(timeout, self.connect_timeout_s), **options
        )


class Connection(ConnectionHandler):  # type: ignore[misc]
    """Kazoo's connection, which tells the session timeout that the server granted."""

    def _invoke(self, timeout: float, request: Any, xid: int | None = None) -> Any:
        """A request of the handshake."""
        answer = super()._invoke(min(timeout, self.handler.connect_timeout_s), request, xid)
        if isinstance(request, Connect) and answer[0].time_out > 0:
            self.client.granted_timeout_ms = answer[0].time_out
        return answer


class FailFastClient(KazooClient):  # type: ignore[misc]
    """A kazoo client for exactly one session.

    Args:
        options: where to connect to.
        on_state: called on the connection thread after every change of state; must not wait.

    Attributes:
        granted_timeout_ms: the session timeout that the server granted.
        is_over: the session has ended; final.
        is_refused: it ended because the server refused the credentials.
    """

    def __init__(self, options: ZooKeeperOptions, on_state: Callable[[str], None]) -> None:
        timeout_s = options.session_timeout_ms / 1_000
        handler = InlineHandler(timeout_s / CONNECTS_PER_TIMEOUT)
        retry = KazooRetry(
            max_tries=-1,
            delay=FIRST_RETRY_S,
            max_delay=LONGEST_RETRY_S,
            ignore_expire=False,
            sleep_func=handler.sleep_func,
        )
        # Kazoo's own retries of requests never run: every request is made here, once.
        once = KazooRetry(max_tries=1, ignore_expire=False, sleep_func=handler.sleep_func)
        super().__init__(
            hosts=options.hosts,
            timeout=timeout_s,
            handler=handler,
            connection_retry=retry,
            command_retry=once,
            auth_data=_credentials(options),
            default_acl=_owner_only(options),
            **_tls_options(options.tls),
        )
        self._connection = Connection(self, self._conn_retry.copy(), logger=self.logger)
        self.granted_timeout_ms = options.session_timeout_ms
        self.is_over = False
        self.is_refused = False
        self._gate = threading.RLock()
        self._finishing = threading.Lock()
        self.add_listener(on_state)

    @property
    def session_state(self) -> SessionState:
        """What is known of the session now; may be read by any thread."""
        if self.is_over:
            return SessionState.LOST
        connected = self._state == KeeperState.CONNECTED
        return SessionState.CONNECTED if connected else SessionState.SUSPENDED

    @property
    def session_id(self) -> int:
        """The session's number; owner of its ephemeral entries."""
        return int(self._session_id or 0)

    @property
    def session_password(self) -> bytes:
        """What proves to the server that a connection is the session's."""
        return bytes(self._session_passwd)

    @property
    def watch_count(self) -> int:
        """How many watches wait to fire."""
        watches: Sequence[Any] = (*self._data_watchers.values(), *self._child_watchers.values())
        return sum(len(each) for each in watches)

    def ask(self, request: Any) -> Any:
        """Send a request; what will hold its answer. Refused at once while not connected."""
        answer = self.handler.async_result()
        self._call(request, answer)
        return answer

    def drop(self) -> None:
        """Break the connection, as if the network had; the session may survive it."""
        connected = self._connection._socket
        # Somebody else may have closed it in this moment, which is as good.
        with contextlib.suppress(OSError, AttributeError):
            connected.shutdown(socket.SHUT_RDWR)

    def finish(self, patience_s: float) -> None:
        """End the session and the thread; waits. Any thread but the client's. Safe to repeat.

        Args:
            patience_s: how long the server may take to answer the good-bye.
        """
        with self._finishing:
            said_goodbye = self._say_goodbye()
            stopped = self._connection.connection_stopped
            if not (said_goodbye and stopped.wait(patience_s)):
                self.drop()
            if stopped.wait(2 * self.handler.connect_timeout_s + LONGEST_RETRY_S):
                self._connection.stop(0)
                self.close()

    def _say_goodbye(self) -> bool:
        """Ask the server to end the session, if it can be asked."""
        with self._gate:
            was_over, self.is_over = self.is_over, True
            self._stopped.set()
            connected = self._state == KeeperState.CONNECTED
            if connected and not was_over:
                self._queue.append((CloseInstance, None))
                self._connection._write_sock.send(b"\0")
            return bool(connected)

    def _call(self, request: Any, async_object: Any) -> bool | None:
        """Send only over a connection that stands; never keep for the next one."""
        with self._gate:
            if not self.is_over and self._state == KeeperState.CONNECTED:
                answer: bool | None = super()._call(request, async_object)
                return answer
        async_object.set_exception(SessionExpiredError() if self.is_over else ConnectionLoss())
        return False

    def _session_callback(self, state: str) -> None:
        """Change the state in one step with what it does to waiting requests. Lost is final."""
        with self._gate:
            if state in CLOSED_STATES:
                self.is_over = True
                self.is_refused |= state == KeeperState.AUTH_FAILED
                self._stopped.set()
            super()._session_callback(state)


def _credentials(options: ZooKeeperOptions) -> list[tuple[str, str]]:
    """What kazoo sends on every connection."""
    return [("digest", f"{options.user}:{options.password}")] if options.user else []


def _owner_only(options: ZooKeeperOptions) -> list[Any] | None:
    """All rights for the user and none for others; None = open."""
    if not options.user:
        return None
    return [make_digest_acl(options.user, options.password, all=True)]


def _tls_options(tls: Tls | None) -> dict[str, Any]:
    """Kazoo's names for the files of an encrypted connection."""
    if tls is None:
        return {}
    return {
        "use_ssl": True,
        "ca": tls.ca,
        "certfile": tls.certificate,
        "keyfile": tls.key,
        "keyfile_password": tls.key_password,
        "check_hostname": tls.check_hostname,
    }

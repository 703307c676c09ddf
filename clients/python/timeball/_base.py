"""What both clients share: settings, metadata, channel options, and errors out of statuses."""

from __future__ import annotations

import random
from typing import Any

import grpc

from timeball._clock import Clock, SystemClock
from timeball._flow import Kit
from timeball._status import to_error
from timeball._version import __version__
from timeball.durations import DurationLike, parse_duration
from timeball.errors import FailedPrecondition, TimeballError, refused
from timeball.settings import Settings, resolve

DEADLINE_DEFAULT = "15s"
MESSAGE_BYTES_MAX = 16 * 1024 * 1024

CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.primary_user_agent", f"timeball-python/{__version__}"),
    # Of several addresses every call takes the next one that is reachable and says that it serves:
    # a coordinator that is about to stop gets no more calls.
    (
        "grpc.service_config",
        '{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}',
    ),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Streams may be silent for hours; a host that vanished is noticed all the same. gRPC goes by
    # its timeout of pings, which is a minute when nobody says otherwise.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The clients repeat calls themselves, with their own word for it in the request.
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
)


class ClientBase:
    """Everything of a client but its channel.

    Args:
        address: host:port, or several IP addresses with commas; default TIMEBALL_ADDRESS.
        api_key: default TIMEBALL_API_KEY.
        namespace: default TIMEBALL_NAMESPACE, else the credential's own.
        deadline: bounds each call with all its repetitions.
        clock: the time, for tests.
        source: random numbers for ids and jitter, for tests.

    Raises:
        InvalidRequest: a setting cannot be meant.
    """

    def __init__(
        self,
        *,
        address: str | None,
        api_key: str | None,
        namespace: str | None,
        deadline: DurationLike,
        clock: Clock | None,
        source: random.Random | None,
    ) -> None:
        self._kit = Kit(
            settings=resolve(address=address, api_key=api_key, namespace=namespace),
            deadline_s=seconds(deadline, "deadline"),
            clock=clock or SystemClock(),
            random=source or random.SystemRandom(),
        )
        self._is_closed = False
        key = self.settings.api_key
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()

    @property
    def settings(self) -> Settings:
        """Where this client asks, and as whom."""
        return self._kit.settings

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.settings.address} {self.settings.parent}>"

    def _check_open(self) -> None:
        """Refuse to ask over a channel that was closed; gRPC says so in errors of its own."""
        if self._is_closed:
            raise FailedPrecondition("this client is closed; make another one")

    def _error(self, error: grpc.RpcError) -> TimeballError:
        """The family's error for a broken call. gRPC raises errors that are calls as well."""
        call: Any = error
        trailers = call.trailing_metadata() or ()
        return to_error(call.code().name, call.details() or "", trailers, self.settings.address)


def seconds(value: DurationLike, field: str) -> float:
    """A duration above zero in seconds, or InvalidRequest."""
    length_s = parse_duration(value, field=field).total_seconds()
    if length_s <= 0:
        raise refused(field, "give more than zero")
    return length_s

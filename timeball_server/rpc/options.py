"""gRPC options of both ends, in one place because they must fit each other.

A server that tolerates fewer pings than its clients send ends their connections with
"too many pings"; a receiver with a smaller message limit than its sender breaks streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from timeball_server.core.limits import (
    MAX_INTERNAL_MESSAGE_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_METADATA_BYTES,
)

ACCEPTED_KEY: Final = "timeball-accepted"
"""Initial metadata of a stream that its server has accepted. Nothing is written before it: a write
that fails because of a refusal hides the refusal behind an internal error of grpc.aio."""
KEEPALIVE_TIME_MS: Final = 10_000
"""How long a connection may be silent before either end asks for a sign of life."""
KEEPALIVE_TIMEOUT_MS: Final = 5_000
"""How long the sign of life may take before the connection counts as broken. gRPC has a timeout of
pings too, of a minute by default, and goes by that one."""
MIN_PING_INTERVAL_MS: Final = 5_000
"""Clients that ping more often are cut off; half of our own interval leaves room for jitter."""
MAX_STREAMS_PER_CONNECTION: Final = 1_000
"""Calls of one connection at the same time."""
CONNECT_TIMEOUT_MS: Final = 2_000
"""How long one attempt to connect may take before it counts as failed."""
FIRST_BACKOFF_MS: Final = 100
"""Pause of the channel itself after a first failed attempt to connect."""

Options = Sequence[tuple[str, int]]


def server_options(*, internal: bool = False) -> Options:
    """Options of a server; `internal` = between our own services, with bigger messages."""
    limit = MAX_INTERNAL_MESSAGE_BYTES if internal else MAX_MESSAGE_BYTES
    return (
        ("grpc.so_reuseport", 0),  # else two servers silently share one port
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", MAX_INTERNAL_MESSAGE_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.http2.max_ping_strikes", 2),
    )


def internal_channel_options() -> Options:
    """Options of a channel from one of our services to another."""
    return (
        ("grpc.max_receive_message_length", MAX_INTERNAL_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_INTERNAL_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", FIRST_BACKOFF_MS),
        ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
        ("grpc.max_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
        ("grpc.use_local_subchannel_pool", 1),  # one connection per channel, none shared by chance
        ("grpc.enable_retries", 0),  # whoever repeats marks it as a resend: rule R8
    )

"""Numbers of the engine that an operator may change."""

from __future__ import annotations

from dataclasses import dataclass

from timeball_server.core.retention import DEFAULT_RETENTION_MS
from timeball_server.core.retry import DEFAULT_EXECUTOR_DEATHS


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Numbers that an operator may change, in milliseconds unless the name says otherwise.

    Attributes:
        executor_deaths: a task is quarantined when so many executors died while they ran it;
            0 = never.
    """

    preclaim_ms: int = 1_000
    session_timeout_ms: int = 6_000
    sweep_every_ms: int = 30_000
    renew_after_ms: int = 300_000
    renew_ahead_ms: int = 600_000
    horizon_ms: int = 5 * 366 * 86_400_000
    recent_creations: int = 10_000
    trusted_skew_ms: int = 10_000
    catch_up_per_s: int = 250
    key_doubt_ms: int = 300_000
    part_rows: int = 50_000
    part_bytes: int = 32 * 1024 * 1024
    retention_ms: int = DEFAULT_RETENTION_MS
    removal_every_ms: int = 300_000
    counted_minutes: int = 10_000
    executor_deaths: int = DEFAULT_EXECUTOR_DEATHS

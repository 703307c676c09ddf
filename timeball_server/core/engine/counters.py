"""The engine's sums: what it did since it began. Only ever counted up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What the engine did, summed; the shell turns it into metrics."""

    created: int = 0
    claims: int = 0
    reclaims: int = 0
    dispatched: int = 0
    succeeded: int = 0
    retried: int = 0
    dead: int = 0
    cancelled: int = 0
    lost: int = 0
    released: int = 0
    silent: int = 0
    adopted: int = 0
    voided: int = 0
    revised: int = 0
    deleted: int = 0
    late_found: int = 0
    ticks: int = 0
    schedules_held: int = 0
    given_up: int = 0
    buckets_removed: int = 0
    left_out: int = 0

"""Randomness of a process: the only place that asks the system for it."""

from __future__ import annotations

from random import Random, SystemRandom


def system_random() -> Random:
    """A source that nobody can predict; for ids that must not collide."""
    return SystemRandom()


def fresh_random() -> Random:
    """A quick source, seeded by the system once; for jitter and choices, never for ids."""
    return Random()

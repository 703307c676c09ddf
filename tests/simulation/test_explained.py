"""Worlds in which somebody asks why tasks do not run: every cause is told, and each is true."""

from __future__ import annotations

import pytest

from tests.support.sim.nemeses import NEMESES
from tests.support.sim.simulation import simulate

OF_OWNERS = ("SHARD_NOT_OWNED", "OWNER_SILENT", "OWNER_SUSPENDED", "STORE_UNAVAILABLE")
CAUSES = {
    "explained, and nothing broken": (
        *("ENDED", "REVOKE_ASKED", "RUNNING", "DISPATCHED", "NOT_DUE", "BACKOFF"),
        *("MUTATION_IN_FLIGHT", "NO_HANDLER", "NO_LABEL", "EXECUTORS_UNREACHABLE", "KEY_LIMIT"),
        *("RATE_LIMIT", "EXECUTORS_LEFT_OUT", "HANDLER_CAP", "EXECUTORS_FULL", "STARTING"),
    ),
    "explained in the dark": (*OF_OWNERS, "ATTEMPT_UNRESOLVED", "EXECUTORS_UNREACHABLE"),
    "explained": ("ENDED", "RUNNING", "NOT_DUE", "SHARD_NOT_OWNED", "OWNER_SILENT"),
    "rows of a newer version": ("NEWER_VERSION_NEEDED", "ENDED"),
}


SEEDS = {"explained, and nothing broken": 4}
"""Where not 0: only some ask while a claim is on its way to the store."""


@pytest.mark.parametrize("name", CAUSES)
def test_every_cause_is_told_and_true(name: str) -> None:
    report = simulate(SEEDS.get(name, 0), profile=NEMESES[name])
    assert not report.violations
    told = {each.removeprefix("told ") for each in report.shown if each.startswith("told ")}
    assert told >= set(CAUSES[name])

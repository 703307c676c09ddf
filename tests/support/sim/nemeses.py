"""Directed mixtures of faults, for holes that drawn ones hit too rarely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from tests.support.sim.profile import STORMS, Profile
from tests.support.virtual_loop import START_WALL_MS

_BASE = Profile(calm=False, tasks=200)

NEMESES: Mapping[str, Profile] = MappingProxyType(
    {
        "calm": Profile(tasks=100, schedules=2),
        "hardly anything to do": Profile(
            tasks=24, clients=2, work_s=600.0, cancel_share=0.0, revise_share=0.0
        ),
        "mixed": replace(_BASE, crashes=6.0, freezes=6.0, snaps=6.0),
        "crashes": replace(_BASE, crashes=14.0, snaps=10.0),
        "pauses": replace(_BASE, freezes=25.0, freeze_s=12.0, session_cuts=15.0),
        "streams": replace(_BASE, snaps=60.0, slow_share=0.3, slow_s=4.0, late_share=1.0),
        "streams that break in mid-word": replace(
            _BASE, tasks=300, cancel_share=0.7, revise_share=0.2, snaps=120.0
        ),
        "cancels": replace(
            _BASE,
            tasks=400,
            cancel_share=0.8,
            store_unknown_share=0.1,
            slow_share=0.2,
            slow_s=0.3,
        ),
        "changes": replace(
            _BASE,
            tasks=300,
            revise_share=0.9,
            cancel_share=0.0,
            store_unknown_share=0.1,
            slow_share=0.2,
            slow_s=0.3,
        ),
        "changes twice": replace(
            _BASE,
            tasks=300,
            revise_share=0.9,
            cancel_share=0.0,
            twice_share=0.5,
            late_share=1.0,
            slow_share=0.3,
            slow_s=1.5,
        ),
        "changes and crashes": replace(_BASE, revise_share=0.8, crashes=14.0, snaps=10.0),
        "late writes": replace(
            STORMS["late writes"], tasks=300, freezes=10.0, freeze_s=10.0, store_late_s=30.0
        ),
        "zombies": replace(
            _BASE,
            tasks=400,
            cancel_share=0.6,
            freezes=25.0,
            freeze_s=15.0,
            slow_share=0.2,
            slow_s=1.5,
        ),
        "long outages": replace(
            _BASE,
            work_s=240.0,
            outages=1.0,
            outage_s=100.0,
            crashes=4.0,
            store_unknown_share=0.1,
        ),
        "schedules": replace(_BASE, tasks=60, schedules=12, crashes=10.0, outages=3.0),
        "torn ticks": replace(
            _BASE,
            tasks=60,
            schedules=16,
            crashes=14.0,
            freezes=14.0,
            freeze_s=15.0,
            store_unknown_share=0.3,
            store_late_s=30.0,
        ),
        "hand-overs": replace(
            _BASE,
            tasks=400,
            expiries=8.0,
            moves=60.0,
            crashes=4.0,
            slow_share=0.2,
            slow_s=1.5,
        ),
        "late rows": replace(
            _BASE, tasks=500, store_unknown_share=0.4, store_late_s=40.0, expiries=5.0
        ),
        "long schedules": replace(_BASE, tasks=40, schedules=10, work_s=280.0, crashes=5.0),
        "doubts": replace(
            _BASE,
            tasks=400,
            cancel_share=0.5,
            store_unknown_share=0.4,
            store_late_s=30.0,
            expiries=25.0,
            freezes=8.0,
            freeze_s=8.0,
        ),
        "long work": replace(
            _BASE, tasks=100, work_s=280.0, long_share=0.12, long_s=400.0, crashes=10.0
        ),
        "old homes": replace(
            _BASE,
            work_s=150.0,
            old_share=0.7,
            long_share=0.1,
            poison_share=0.05,
            crashes=20.0,
            slow_share=0.2,
            slow_s=1.5,
        ),
        "removals": replace(
            _BASE,
            tasks=300,
            work_s=200.0,
            retention_s=60.0,
            long_share=0.02,
            long_s=150.0,
            crashes=6.0,
            freezes=6.0,
            freeze_s=12.0,
            expiries=4.0,
            store_unknown_share=0.1,
            store_late_s=30.0,
        ),
        "removals that pause": replace(
            _BASE,
            tasks=300,
            work_s=200.0,
            retention_s=60.0,
            crashes=4.0,
            expiries=4.0,
            freeze_s=10.0,
            pause_before=f"delete_bucket {START_WALL_MS // 60_000 + 1} ",
        ),
        "watermarks that pause": replace(
            _BASE,
            tasks=300,
            work_s=200.0,
            retention_s=60.0,
            crashes=4.0,
            expiries=4.0,
            freeze_s=10.0,
            store_unknown_share=0.2,
            store_late_s=40.0,
            pause_before="move_deleted_below",
        ),
        "keys": replace(
            _BASE,
            keyed_share=0.8,
            crashes=8.0,
            freezes=10.0,
            freeze_s=12.0,
            expiries=4.0,
            snaps=6.0,
            moves=10.0,
        ),
        "removals, and nothing broken": Profile(
            tasks=150, work_s=130.0, retention_s=45.0, schedules=2, archives=1
        ),
        "sessions end, and everybody answers": replace(
            _BASE,
            work_s=90.0,
            expiries=25.0,
            moves=15.0,
            drains=2.0,
            retention_s=45.0,
            revise_share=0.3,
            store_unavailable_share=0.03,
        ),
        "restarts, and nothing broken": Profile(tasks=100, schedules=1, drains=10.0),
        "keys, and nothing broken": Profile(
            tasks=200, keyed_share=0.8, moves=20.0, drains=3.0, archives=2
        ),
        "backfills": replace(
            _BASE,
            tasks=60,
            archives=12,
            filled=60,
            crashes=12.0,
            freezes=6.0,
            freeze_s=12.0,
            store_unknown_share=0.1,
            store_late_s=10.0,
            moves=10.0,
        ),
        "backfills, and nothing broken": Profile(
            tasks=60, archives=10, filled=60, moves=40.0, drains=4.0
        ),
        "silence": replace(STORMS["everything"], tasks=120, beating_share=0.5),
        "silence, and nothing broken": Profile(tasks=120, beating_share=0.6, moves=10.0),
        "overlaps": replace(
            _BASE,
            tasks=60,
            schedules=10,
            overlap_share=0.8,
            crashes=8.0,
            freezes=4.0,
            freeze_s=8.0,
            outages=2.0,
            moves=10.0,
        ),
        "overlaps, and nothing broken": Profile(
            tasks=60, schedules=10, overlap_share=0.8, moves=10.0
        ),
        "timeouts": replace(
            _BASE,
            tasks=20,
            timed=72,
            skew_ms=200,
            crashes=8.0,
            freezes=4.0,
            freeze_s=8.0,
            snaps=6.0,
            store_unknown_share=0.05,
        ),
        "timeouts, and nothing broken": Profile(tasks=0, timed=72, work_s=40.0),
        "clocks put back": Profile(
            calm=False, tasks=10, timed=150, work_s=40.0, skew_ms=2_000, clock_steps=60.0
        ),
        "limits": replace(
            _BASE,
            tasks=20,
            rated=20,
            work_s=30.0,
            crashes=3.0,
            freezes=3.0,
            freeze_s=8.0,
            moves=60.0,
        ),
        "limits, and nothing broken": Profile(tasks=0, rated=20, work_s=20.0),
        "edits": replace(
            _BASE,
            tasks=40,
            edits=12,
            work_s=45.0,
            crashes=6.0,
            freezes=4.0,
            freeze_s=8.0,
            store_unknown_share=0.1,
            twice_share=0.15,
            late_share=0.5,
            moves=10.0,
        ),
        "edits, and nothing broken": Profile(tasks=20, edits=24, work_s=45.0),
        "edits, and nobody there": replace(_BASE, tasks=30, edits=14, work_s=60.0, absences=6.0),
        "explained, and nothing broken": Profile(
            tasks=30, clients=2, work_s=25.0, asks=60, desks=True
        ),
        "rows of a newer version": Profile(tasks=40, clients=2, work_s=30.0, foreign_rows=10),
        "explained in the dark": Profile(
            calm=False, tasks=20, clients=2, work_s=30.0, asks=20, blackouts=True
        ),
        "explained": replace(
            _BASE,
            tasks=120,
            asks=240,
            skew_ms=500,
            crashes=8.0,
            freezes=6.0,
            expiries=3.0,
            snaps=8.0,
            outages=1.0,
            moves=10.0,
            store_unknown_share=0.05,
            slow_share=0.1,
            slow_s=0.3,
        ),
        "progress": replace(
            _BASE,
            tasks=20,
            reports=30,
            crashes=10.0,
            freezes=4.0,
            freeze_s=8.0,
            snaps=10.0,
            moves=10.0,
            store_unknown_share=0.05,
            slow_share=0.1,
            slow_s=0.3,
        ),
        "progress, and nothing broken": Profile(tasks=0, reports=26, work_s=30.0),
        "shifts, and nothing broken": Profile(tasks=0, shifts=True, work_s=28.0),
        "between entry and epoch": replace(
            _BASE, crashes=8.0, expiries=6.0, freezes=4.0, pause_before="raise_epoch"
        ),
        "forecasts": replace(
            _BASE,
            tasks=20,
            work_s=20.0,
            forecasts=120,
            schedules=2,
            spread_share=1.0,
            crashes=8.0,
            snaps=8.0,
            skew_ms=2_000,
        ),
        "clerks, and nothing broken": Profile(tasks=10, clients=2, work_s=20.0, clerks=1),
        "clerks, and shards move": Profile(
            tasks=20, clients=2, work_s=30.0, clerks=3, moves=30.0, drains=4.0
        ),
        "small parts, and nothing broken": Profile(tasks=120, work_s=40.0, part_rows=4),
        "small parts": replace(
            _BASE,
            tasks=120,
            work_s=40.0,
            part_rows=3,
            counted=3,
            crashes=8.0,
            snaps=4.0,
            moves=10.0,
            store_unknown_share=0.05,
        ),
        "removals that take their time": Profile(
            tasks=60,
            clients=3,
            work_s=150.0,
            retention_s=45.0,
            latecomers=2,
            lingers=("read_bucket_journals", "move_deleted_below"),
            linger_s=0.15,
        ),
        "forecasts, and nothing broken": Profile(
            tasks=10, work_s=20.0, forecasts=580, schedules=8, spread_share=1.0, overlap_share=0.0
        ),
    }
)

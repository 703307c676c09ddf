"""The bench of moves reads what scheduler nodes write and counts only what is near a gap."""

from __future__ import annotations

from pathlib import Path

from tests.bench.moves import Move, lateness, moves_in
from tests.support.store_worlds import task

LOG = """\
2026-11-21T19:35:21.000000Z [info     ] letting a shard go             [x] epoch=9 node=a shard=7
2026-11-21T19:35:21.100000Z [info     ] shard let go                   [x] epoch=9 node=a shard=7 \
why='handed over, quiet for 30 ms'
2026-11-21T19:35:21.200000Z [info     ] shard taken                    [x] epoch=10 node=b \
read_ahead=28 shard=7 took_ms=60
2026-11-21T19:35:22.000000Z [info     ] shard taken                    [x] epoch=11 node=b \
read_ahead=0 shard=8 took_ms=60
"""
LET_GO_MS = 1_795_289_721_070.0


def test_a_gap_lasts_from_the_quiet_to_the_taking(tmp_path: Path) -> None:
    (tmp_path / "scheduler-1.log").write_text(LOG)
    (move,) = moves_in(tmp_path, 0)
    assert (move.shard, move.let_go_ms) == (7, LET_GO_MS)
    assert (move.gap_ms, move.quiet_ms - move.let_go_ms, move.taken_ms - move.begun_ms) == (
        130,
        30,
        60,
    )
    assert moves_in(tmp_path, LET_GO_MS + 1_000) == []


def test_tasks_of_other_shards_in_the_same_moments_are_the_control() -> None:
    move = Move(shard=7, let_go_ms=1_000, quiet_ms=1_000, begun_ms=1_050, taken_ms=1_100)
    mine, other, before, after, unstarted = (
        str(task(number, shard=shard)) for number, shard in enumerate((7, 8, 7, 7, 7))
    )
    due_ms = {mine: 1_050.0, other: 1_050.0, before: 799.0, after: 1_901.0, unstarted: 1_060.0}
    started_ms = {mine: 1_060.0, other: 1_061.0, before: 900.0, after: 2_000.0}
    assert lateness([move], due_ms, started_ms) == ([10], [11])

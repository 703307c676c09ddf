"""The rules of removing buckets as switches (R19-R21): see rules.py."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.support.sim.rewriting import Rewrite
from tests.support.sim.switches import ENGINE, Switch

RETENTION = "timeball_server.core.retention"
_NO_BAR = Rewrite(
    f"{ENGINE}.removing", "is_barred", "SCHEDULES_MINUTE < minute < removal.below", "False"
)
_NOT_IN_USE = Rewrite(
    f"{ENGINE}.removing",
    "_lowest_in_use",
    "min(_homes_in_use(engine, shard), default=shard.scan_from)",
    "shard.scan_from",
)

REMOVAL_RULES: Mapping[str, Switch] = MappingProxyType(
    {
        "R19 ended": Switch(
            says="a bucket goes though a task in it has not ended",
            rewrites=(
                Rewrite(RETENTION, "may_go", "contents.open_task is None and", ""),
                _NOT_IN_USE,
            ),
            breaks=("I1", "I11", "I12", "I4", "I5", "I8"),
            nemesis="removals",
            within=10,
            masked="R18: what is in memory holds scan_from back; its events make a bucket young",
        ),
        "R19 retention": Switch(
            says="a bucket goes as soon as all its tasks have ended",
            rewrites=(
                Rewrite(RETENTION, "may_go", "contents.last_ms + retention_ms <= now_ms", "True"),
                Rewrite(
                    RETENTION,
                    "oldest_kept",
                    "minute_of(now_ms - retention_ms)",
                    "minute_of(now_ms)",
                ),
            ),
            breaks=("I1",),
            nemesis="removals",
            within=10,
        ),
        "R19 bar": Switch(
            says="what is asked while a bucket is looked at goes on, what is in use is unseen",
            rewrites=(_NO_BAR, _NOT_IN_USE),
            breaks=("I1", "I4", "I5", "I8", "I12"),
            nemesis="removals",
            within=20,
            masked="retention: what is written meanwhile makes the bucket too young",
        ),
        "R20 watermark": Switch(
            says="buckets are removed and the watermark is not written",
            rewrites=(
                Rewrite(
                    "scheduler_node.removing",
                    "Remover._move",
                    "row = await self._watermarks.move(",
                    "from dataclasses import replace\n"
                    "    from timeball_server.ports.store import NotApplied\n"
                    "    async def unmoved():\n"
                    "        row = await self._store.read_shard(shard)\n"
                    "        return NotApplied(replace(row, deleted_below=effect.new))\n"
                    "    row = await self._watermarks.move(",
                ),
                Rewrite(
                    "scheduler_node.removing",
                    "Remover._move",
                    "lambda: self._store.move_deleted_below(shard, epoch, effect.old, effect.new)",
                    "unmoved",
                ),
            ),
            breaks=("I1", "I4", "I5", "I8", "I12"),
            nemesis="removals that pause",
            within=10,
        ),
        "R20 old value": Switch(
            says="a watermark is moved wherever it stands (H10)",
            rewrites=(
                Rewrite(
                    "timeball_server.store.memory",
                    "MemoryStore.move_deleted_below",
                    "(row.epoch, row.deleted_below) != (epoch, old)",
                    "row.epoch != epoch",
                ),
            ),
            breaks=("I1", "I4", "I5", "I12"),
            nemesis="watermarks that pause",
            within=20,
            masked="too rare: a take-over must follow a late write that takes the watermark back",
        ),
        "R21": Switch(
            says="ids below the watermark are as good as any",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.commands",
                    "arrive",
                    "SCHEDULES_MINUTE < home.minute < shard.deleted_below",
                    "False",
                ),
            ),
            breaks=("I4", "I5", "I12", "I1"),
            nemesis="removals",
            within=10,
        ),
    }
)

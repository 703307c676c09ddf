"""The rules of the protocol as switches: each one taken out of the product, one at a time.

Tests alone: the product has no such switches, so a release has none. A switch is what a hurried
programmer might have written instead of the rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.support.sim.removal_rules import REMOVAL_RULES
from tests.support.sim.rewriting import Rewrite
from tests.support.sim.schedule_rules import SCHEDULE_BUGS, SCHEDULE_RULES
from tests.support.sim.switches import ENGINE, Switch

NOT_LOADED = "str(task.loading) != 'PRESENT'"


RULES: Mapping[str, Switch] = MappingProxyType(
    {
        "R1": Switch(
            says="the epoch is a counter in the store",
            rewrites=(
                Rewrite(
                    "scheduler_node.taking",
                    "Taker._publish",
                    "row = await self._raise_epoch(shard, epoch)",
                    "stored = await self._insist("
                    "shard, lambda: self._store.read_shard(shard))\n"
                    "    epoch = Epoch(1 if stored is None else stored.epoch + 1)\n"
                    "    row = await self._raise_epoch(shard, epoch)",
                ),
                Rewrite(
                    "timeball_server.coordination.entries",
                    "Entries.release_ownership",
                    "(held.session, held.ownership.epoch) == (session, epoch)",
                    "held.session == session",
                ),
            ),
            breaks=("I9",),
            nemesis="between entry and epoch",
            within=1,
            beside="ignore the lease",
        ),
        "R2": Switch(
            says="the owner row is not written before the shard is read",
            rewrites=(
                Rewrite(
                    "scheduler_node.taking",
                    "Taker._publish",
                    "await self._insist(shard, lambda: self._store.write_owner("
                    "self.owner_row(row)))",
                    "pass",
                ),
            ),
            breaks=("I9",),
            nemesis="mixed",
            within=1,
        ),
        "R4": Switch(
            says="an owner that hears of a higher epoch goes on",
            rewrites=(
                Rewrite(f"{ENGINE}.executors", "_yield_to_higher", "shard is not None", "False"),
            ),
            breaks=("I9",),
            nemesis="deposed",
            within=2,
            masked="R3: whoever lost its session hears of it before an executor answers",
        ),
        "R5": Switch(
            says="of each number the highest epoch is taken for the past, whatever it follows from",
            rewrites=(
                Rewrite(
                    "timeball_server.core.journal",
                    "fold",
                    "by_key.get((chain[-1].prev_epoch, chain[-1].seq - 1))",
                    "max((row for row in by_key.values() if row.seq == chain[-1].seq - 1), "
                    "key=lambda row: row.epoch, default=None)",
                ),
            ),
            breaks=("I12",),
            nemesis="two pasts",
            within=1,
        ),
        "R6": Switch(
            says="a hint is due when it says, whatever has become of the task",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.loading",
                    "_enter",
                    "task.alarm_minute = hint.minute",
                    "task.alarm_minute = hint.minute\n"
                    "    from dataclasses import replace\n"
                    "    moved = head.state is not None and head.alarm is not None\n"
                    "    rows = [replace(row, alarm=row.alarm._replace(due_ms=hint.due_ms)) "
                    "if moved and row == head else row for row in rows]",
                ),
                Rewrite(
                    f"{ENGINE}.loading",
                    "_enter",
                    "not _follows(engine, shard, head) and "
                    "(not settling.unsettled(shard, hint, head))",
                    "head.state in CLOSED",
                ),
            ),
            breaks=("I2",),
            nemesis="changes and crashes",
            within=5,
        ),
        "R8 changes": Switch(
            says="the request of a change is not looked for in the journal",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.revising",
                    "_answer_at_once",
                    "_repeated(task, command) or _too_late(task)",
                    "_too_late(task)",
                ),
            ),
            breaks=("I2", "I8", "I15", "I12"),
            nemesis="changes twice",
            within=8,
        ),
        "R9": Switch(
            says="a task for later is left to the scan, though its slice was read already",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.placing",
                    "place",
                    "not shard.follows(task.due_ms, engine.now_ms)",
                    "task.head.seq == 1 and task.due_ms > engine.now_ms",
                ),
            ),
            breaks=("I1", "I11"),
            nemesis="calm",
            within=1,
        ),
        "R10": Switch(
            says="a task with a mutation in flight is handed out",
            rewrites=(
                Rewrite(f"{ENGINE}.dispatching", "_serve", "not task.idle", NOT_LOADED),
                Rewrite(
                    f"{ENGINE}.dispatching",
                    "advance",
                    "stamp == task.stamp and task.idle and",
                    f"stamp == task.stamp and (not {NOT_LOADED}) and",
                ),
                Rewrite(f"{ENGINE}.dispatching", "hand_out", "or task.pending is not None", ""),
            ),
            breaks=("I1", "I3", "I4", "I5", "I8", "I12"),
            nemesis="cancels",
            within=10,
        ),
        "R10 supersede": Switch(
            says="an update is written, and what is in memory stays as it was",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.state",
                    "TaskState.append",
                    "isinstance(row.detail, SpecDetail)",
                    "isinstance(row.detail, SpecDetail) and row.seq == 1",
                ),
            ),
            breaks=("I15",),
            nemesis="changes",
            within=1,
        ),
        "R11 executor": Switch(
            says="a claimed task goes to any executor with room",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.dispatching",
                    "_serve",
                    "task.state is State.CLAIMED and "
                    "task.head.incarnation == executor.facts.incarnation",
                    "task.state is State.CLAIMED",
                ),
                Rewrite(
                    f"{ENGINE}.dispatching",
                    "_may_be_sent",
                    "or executor.facts.incarnation != task.head.incarnation",
                    "",
                ),
                Rewrite(
                    f"{ENGINE}.dispatching",
                    "_target",
                    "if task.state is State.CLAIMED and claimed in eligible and "
                    "claimed.has_room(handler):\n        return claimed",
                    "claimed",
                ),
            ),
            breaks=("I4", "I5"),
            nemesis="crashes",
            within=20,
        ),
        "R11 incarnation": Switch(
            says="an executor takes what was meant for its former life",
            rewrites=(
                Rewrite(
                    "timeball_server.core.executor_state",
                    "ExecutorState._judge",
                    "incarnation != self._incarnation",
                    "False",
                ),
                Rewrite(
                    "timeball_server.core.executor_state",
                    "ExecutorState.open_stream",
                    "hello.executor_incarnation != self._incarnation",
                    "False",
                ),
            ),
            breaks=("I5",),
            nemesis="stale member",
            within=1,
        ),
        "R12 order": Switch(
            says="an executor listens to streams that were replaced",
            rewrites=(
                Rewrite(
                    "timeball_server.core.executor_state",
                    "ExecutorState.receive",
                    "self._open.get(stream.owner) != stream",
                    "False",
                ),
                Rewrite(
                    "timeball_server.core.executor_state",
                    "ExecutorState.open_stream",
                    "[] if former is None else [EndStream(former)]",
                    "[]",
                ),
            ),
            breaks=("I4", "I5", "sanity"),
            nemesis="streams",
            within=20,
        ),
        "R13": Switch(
            says="an executor follows any epoch",
            rewrites=(
                Rewrite(
                    "timeball_server.core.executor_state",
                    "ExecutorState._follow",
                    "if epoch < known.epoch:\n        return False",
                    "pass",
                ),
            ),
            breaks=("I5", "I9"),
            nemesis="late order",
            within=1,
        ),
        "R14 inventory": Switch(
            says="a claim that a take-over finds is made again without asking its executor",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.takeover",
                    "resolve",
                    "elif executor is not None and incarnation in shard.inventories:\n"
                    "        _settle(engine, shard, task, executor, "
                    "shard.inventories[incarnation])",
                    "elif executor is not None:\n"
                    "        _settle(engine, shard, task, executor, {})",
                ),
            ),
            breaks=("I4", "I5"),
            nemesis="crashes",
            within=3,
        ),
        "R14 revoke": Switch(
            says="a sent run is cancelled without asking its executor",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.commands",
                    "_cancel",
                    "task.state is State.CLAIMED and (not task.sent)",
                    "task.state is State.CLAIMED and task.started_ms is None",
                ),
            ),
            breaks=("I3", "I4", "I5"),
            nemesis="cancels",
            within=20,
        ),
        "R14 revise": Switch(
            says="a sent run is updated and moved without asking its executor",
            rewrites=(Rewrite(f"{ENGINE}.revising", "revise", "task.sent", "False"),),
            breaks=("I2", "I4", "I5", "I15"),
            nemesis="changes",
            within=5,
        ),
        "R15": Switch(
            says="vanished attempts are not named",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.completing",
                    "vanished_event",
                    "replace(row, unaccounted=(*head.unaccounted, doubt))",
                    "replace(row, unaccounted=head.unaccounted)",
                ),
            ),
            breaks=("I3",),
            nemesis="zombies",
            within=30,
        ),
        "R16": Switch(
            says="a reader shows what it reads, whoever owns the shard",
            rewrites=(
                Rewrite(
                    "coordinator.read_rule",
                    "judge",
                    "owner is None or head.epoch != owner.epoch or ",
                    "",
                ),
            ),
            breaks=("I8", "I12"),
            nemesis="late cancel",
            within=1,
        ),
        "R17": Switch(
            says="an owner shows what earlier owners wrote",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.pinning",
                    "pinned",
                    "task.head.epoch == shard.epoch",
                    "True",
                ),
            ),
            breaks=("I8", "I12"),
            nemesis="late cancel and claim",
            within=1,
        ),
        "R18 sweep": Switch(
            says="the watermark passes buckets that nobody has looked at again",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.sweeping",
                    "swept",
                    "[hint for hint in event.hints if _is_news(shard, hint, event)]",
                    "[]",
                ),
            ),
            breaks=("I1", "I11"),
            nemesis="late creation",
            within=1,
        ),
        "R18 watermark": Switch(
            says="the watermark does not wait for tasks in memory",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.sweeping",
                    "_held_back",
                    "any((task.alarm_minute <= minute for task in shard.tasks.values()))",
                    "False",
                ),
            ),
            breaks=("I1", "I11"),
            nemesis="long work",
            within=30,
        ),
        "R22": Switch(
            says="the hint of a home below the watermark stays at home",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.writing",
                    "scan_floor",
                    "max(shard.scan_from, shard.swept_below)",
                    "Minute(0)",
                ),
            ),
            breaks=("I1", "I11"),
            nemesis="overdue at an old home",
            within=1,
        ),
        "R24": Switch(
            says="what is due within a second is due",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.dispatching",
                    "_act",
                    "task.due_ms <= engine.now_ms",
                    "task.due_ms <= engine.now_ms + 900",
                ),
                Rewrite(
                    f"{ENGINE}.dispatching",
                    "_may_be_sent",
                    "task.due_ms <= engine.now_ms",
                    "True",
                ),
            ),
            breaks=("I2",),
            nemesis="calm",
            within=1,
        ),
        **REMOVAL_RULES,
        **SCHEDULE_RULES,
    }
)
"""By rule. R1, R3, R7 and R8 are broken from outside, in bugs.py."""

NAMED: Mapping[str, Switch] = MappingProxyType(
    {
        "no late-arrival sweep": RULES["R18 sweep"],
        "a stranger may look and cancel": Switch(
            says="nobody asks whether a task belongs to the caller's namespace",
            rewrites=(
                Rewrite(
                    "coordinator.reader",
                    "Reader.look",
                    "view.spec.namespace != namespace",
                    "False",
                ),
                Rewrite(
                    f"{ENGINE}.state",
                    "TaskState.foreign_to",
                    "self.spec.namespace != namespace",
                    "False",
                ),
            ),
            breaks=("I13",),
            nemesis="calm",
            within=2,
        ),
        **SCHEDULE_BUGS,
        "a cap on missed starts": Switch(
            says="a schedule that missed three times in a row never fires again",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.launching",
                    "passed",
                    "row = verdict_row(engine, shard, task, at_ms, decision)",
                    "row = verdict_row(engine, shard, task, at_ms, decision)\n"
                    "    if decision.times >= 3:\n"
                    "        detail = replace(detail, next_ms=None)",
                ),
            ),
            breaks=("I11",),
            nemesis="schedules",
            within=5,
        ),
    }
)
"""Bugs that other schedulers have had, apart from those in bugs.py."""

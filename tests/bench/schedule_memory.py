"""What an engine holds in memory of very many stored schedules, of which few are due soon.

    python -m tests.bench.schedule_memory day --schedules 1000000 [--minutes 10]
    python -m tests.bench.schedule_memory month --schedules 1000000

`day`: five fields in a zone with jumps, once a day, evenly over its minutes. `month`: every thirty
days. A new owner takes all shards over; what it reads is made as it asks, so the store costs
nothing and RSS is the engine's. Written rows are forgotten, after some minutes those of schedules
that have fired too. Every nominal time must be launched once, or the run fails. Prints a line a
minute; asserts no sizes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

from tests.bench.hot_path import SHARDS, START_MS
from tests.bench.schedule_ticks import MINUTE_MS, ScheduleNode
from timeball_server.core.buckets import minute_of
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.ids import (
    KIND_SCHEDULE,
    SCHEDULES_MINUTE,
    Bucket,
    Epoch,
    IdParts,
    Incarnation,
    Minute,
    ShardId,
    TaskId,
    decode_id,
    encode_id,
    home_of_name,
)
from timeball_server.core.journal import (
    Alarm,
    DueRow,
    EventKind,
    EventRef,
    EventRow,
    LedgerRow,
    ScheduleDetail,
    State,
)
from timeball_server.core.model import Payload, ScheduleSpec, TaskSpec
from timeball_server.core.schedules.calendars import next_nominal_ms
from timeball_server.core.schedules.spec import Calendar, Cron, Interval
from timeball_server.runtime.collector import settle_collector

DAY: Final = 1_440
MONTH: Final = 30 * DAY
"""Minutes after which every schedule has fired once."""
EARLIER: Final = Epoch(6)
"""Of the owner before."""


class StoredNode(ScheduleNode):
    """A node whose store makes up what it is asked for."""

    schedules = 0
    places = DAY

    def calendar(self, place: int) -> Calendar:
        """One for each minute of the day, or of thirty days."""
        if self.places == DAY:
            hour, minute = divmod(place, 60)
            return Calendar(
                crons=(Cron(expression=f"{minute} {hour} * * *", zone="Europe/Berlin"),)
            )
        return Calendar(
            intervals=(Interval(every_ms=MONTH * MINUTE_MS, phase_ms=place * MINUTE_MS),)
        )

    @cached_property
    def place_at(self) -> dict[int, int]:
        """Which place has its first nominal time after the beginning in a minute."""
        first_ms = (next_nominal_ms(self.calendar(each), START_MS) for each in range(self.places))
        return {minute_of(due_ms or 0): place for place, due_ms in enumerate(first_ms)}

    def stored(self, shard: ShardId, minute: Minute) -> Iterator[tuple[DueRow, EventRow]]:
        """Hints and heads of what an earlier owner left for this minute."""
        place = self.place_at.get(minute)
        if place is None:
            return
        calendar, due_ms = self.calendar(place), minute * MINUTE_MS
        first = place + self.places * shard
        for number in range(first, self.schedules, self.places * SHARDS):
            head = stored_head(number, shard, calendar, due_ms)
            yield hint_of(head, minute, due_ms), self.heads.get(head.task_id, head)

    def _keep(self, rows: tuple[object, ...]) -> None:
        for row in rows:
            if isinstance(row, EventRow) and isinstance(row.detail, ScheduleDetail):
                self.heads[row.task_id] = row
            elif isinstance(row, LedgerRow):
                key = (row.schedule_id, row.nominal_ms)
                assert key not in self.ledger, f"{key} has two verdicts"
                self.ledger[key] = row.verdict
                self.launched += row.verdict == "LAUNCHED"

    def _slice(self, asked: fx.LoadSlice) -> ev.SliceLoaded:
        found = [
            (hint, head)
            for hint, head in self.stored(asked.shard, asked.minute)
            if asked.from_ms <= hint.due_ms < asked.to_ms
        ]
        return ev.SliceLoaded(
            shard=asked.shard,
            epoch=asked.epoch,
            number=asked.number,
            hints=[hint for hint, _ in found],
            journals={head.task_id: (head,) for _, head in found},
            last=True,
        )

    def let_go(self) -> None:
        """Forget what was written of minutes that have been swept: it is the store's, not ours."""
        old_ms = self.now_ms - 3 * MINUTE_MS
        self.ledger = {key: word for key, word in self.ledger.items() if key[1] > old_ms}
        self.heads = {task_id: head for task_id, head in self.heads.items() if head.at_ms > old_ms}

    def _swept(self, shard: ShardId, epoch: Epoch, minute: Minute) -> ev.BucketSwept:
        found = list(self.stored(shard, minute))
        return ev.BucketSwept(
            shard=shard,
            epoch=epoch,
            minute=minute,
            hints=tuple(hint for hint, _ in found),
            journals={head.task_id: (head,) for _, head in found},
        )


def stored_head(number: int, shard: ShardId, calendar: Calendar, due_ms: int) -> EventRow:
    """The first event of a schedule that an earlier owner created."""
    name = f"s{number}"
    part, unique = home_of_name("bank", name)
    task = TaskSpec(
        namespace="bank", owner="teller", handler="bench.work", payload=Payload(data=bytes(100))
    )
    return EventRow(
        task_id=encode_id(IdParts(Bucket(SCHEDULES_MINUTE, shard, part), unique, KIND_SCHEDULE)),
        epoch=EARLIER,
        seq=1,
        kind=EventKind.SCHEDULE_CREATED,
        state=State.ACTIVE,
        alarm=Alarm(due_ms, 1, EARLIER),
        attempt=0,
        run=None,
        executor=None,
        incarnation=Incarnation(0),
        prev_epoch=EARLIER,
        spec_at=EventRef(1, EARLIER),
        revision=1,
        priority=task.priority,
        unaccounted=(),
        request_id="create",
        at_ms=START_MS - MINUTE_MS,
        created_ms=START_MS - MINUTE_MS,
        actor="user:teller",
        detail=ScheduleDetail(
            spec=ScheduleSpec(task=task, name=name, calendar=calendar),
            next_ms=due_ms,
            hand_epoch=EARLIER,
            seen_epoch=EARLIER,
        ),
    )


def hint_of(head: EventRow, minute: Minute, due_ms: int) -> DueRow:
    """The hint of its alarm."""
    return DueRow(
        minute=minute,
        part=decode_id(head.task_id).home.part,
        due_ms=due_ms,
        task_id=TaskId(head.task_id),
        seq=head.seq,
        epoch=head.epoch,
        handler="bench.work",
        priority=head.priority,
    )


def rss_mib() -> float:
    """What this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096 / 2**20


def held(node: StoredNode) -> dict[str, int]:
    """Everything of the engine that could grow with the number of schedules."""
    engine = node.engine
    shards = engine.shards.values()
    return {
        "schedules and runs in memory": sum(len(shard.tasks) for shard in shards),
        "timeline": len(engine.timeline),
        "remembered creations": sum(len(shard.recent) for shard in shards),
        "counted minutes": sum(len(shard.parts) for shard in shards),
        "others": sum(
            len(shard.parked) + len(shard.asking) + len(shard.touched) for shard in shards
        ),
    }


def minute_of_life(node: StoredNode, most: dict[str, int]) -> None:
    """A minute passes; `most` keeps the greatest of each count."""
    until_ms = node.now_ms + MINUTE_MS
    while node.now_ms < until_ms:
        node.step(20)
        node.flushes.clear()
        for name, count in held(node).items():
            most[name] = max(most.get(name, 0), count)
    node.let_go()


def main() -> None:
    """Print what is held, minute by minute and at most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("day", "month"))
    parser.add_argument("--schedules", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=int, default=10)
    asked = parser.parse_args()
    StoredNode.schedules = asked.schedules
    StoredNode.places = DAY if asked.what == "day" else MONTH
    node = StoredNode()
    settle_collector()
    most: dict[str, int] = {}
    empty_mib = rss_mib()
    for minute in range(1, asked.minutes + 1):
        launched = node.launched
        minute_of_life(node, most)
        grown_mib = rss_mib() - empty_mib
        print(f"minute {minute}: {node.launched - launched:,} launched, RSS +{grown_mib:.1f} MiB")
    print(
        f"{asked.schedules:,} stored, at most: " + ", ".join(f"{n} {c:,}" for n, c in most.items())
    )
    wanted = sum(
        len(range(place + node.places * shard, node.schedules, node.places * SHARDS))
        for minute, place in node.place_at.items()
        if START_MS < minute * MINUTE_MS <= node.now_ms
        for shard in range(SHARDS)
    )
    assert node.launched == wanted, f"{node.launched} launched of {wanted}"


if __name__ == "__main__":
    main()

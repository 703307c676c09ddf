"""Aimed kills one after another on a cluster that is never left in peace.

Load goes on the whole time. A round waits until the cluster is calm, aims, waits for the hit,
brings the victim back and waits until everybody owns what it should. After some rounds the load
pauses, all that was promised comes to its end, and the trial (trial.py) judges from the records.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Final

import timeball

from tests.support.chaos.faults import whole
from tests.support.chaos.helpers import Helper, Tail
from tests.support.chaos.points import Point
from tests.support.chaos.wired import EXECUTORS, SCHEDULERS, WiredCluster
from tests.support.polls import eventually, moment, mono_s, wall_ms
from tests.support.start_logs import logs_in, start_of
from timeball_server.coordination.zookeeper.options import ZooKeeperOptions
from timeball_server.coordination.zookeeper.session import open_session
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.runtime.clock import SystemClock
from tools.local_cluster import coordinators

AWAY_S: Final = (0.0, 0.0, 1.0, 5.0)
HIT_WITHIN_S: Final = 12.0
WHOLE_WITHIN_S: Final = 60.0
BALANCE_WITHIN_S: Final = 10.0
LEAST_SHARE: Final = 4
"""A scheduler node is a victim if it owns at least one shard in so many."""
CALM_WITHIN_S: Final = 15.0
CALM_LATE_MS: Final = 300
CALM_SHARE: Final = 0.9
LOOK_S: Final = 0.5
LONGEST_WORDS: Final = 1_000


@dataclass(slots=True, kw_only=True)
class Round:
    """What was done in one round."""

    number: int
    point: str
    victim: str
    incarnation: int
    """Of the victim's life that was to end."""
    away_s: float
    delay_ms: float
    began_ms: int
    calm: bool
    shards: dict[int, int]
    """Shards that the victim owned, with the epoch of then."""
    shot: dict[str, Any] = field(default_factory=dict)
    ended_ms: int = 0
    balanced: bool = True
    """Whether all planned moves were over when the round ended; otherwise the next met them."""
    stuck: str = ""
    """What did not become right again in time."""

    @property
    def killed_ms(self) -> int | None:
        """When the signal was sent, None if the point was not reached."""
        killed_ms = self.shot.get("killed_ms")
        return killed_ms if isinstance(killed_ms, int) else None

    def facts(self) -> dict[str, Any]:
        """For a line of JSON."""
        return asdict(self)


class Load:
    """The load's process, seen from here."""

    def __init__(self, cluster: WiredCluster, rate: float) -> None:
        folder = cluster.places.folder
        self.rate = rate
        self.last: Mapping[str, Any] = {}
        self._news = Tail(folder / "pour.jsonl")
        arguments = ["--addresses", coordinators(cluster.addresses), "--rate", str(rate)]
        self._helper = Helper(
            "tests.support.chaos.pour", [*arguments, "--folder", str(folder)], folder / "pour.out"
        )

    def tell(self, word: str) -> None:
        """`pause`, `go`, `reopen` or `stop`."""
        self._helper.tell(word)

    def look(self) -> Mapping[str, Any]:
        """How it stood a moment ago."""
        for line in self._news.lines():
            self.last = json.loads(line)
        return self.last

    async def quiet(self, limit_s: float) -> bool:
        """Paused, and everything answered."""
        self.tell("pause")
        self._news.lines()

        async def look() -> bool:
            facts = self.look()
            return bool(facts.get("paused")) and not facts.get("unanswered")

        try:
            await eventually(look, "the load is answered", limit_s)
        except AssertionError:
            return False
        return True

    def end(self) -> None:
        """Wait for its last answers."""
        self._helper.end()


class Campaign:
    """Plays rounds."""

    def __init__(
        self, cluster: WiredCluster, client: timeball.AsyncClient, load: Load, random: Random
    ) -> None:
        self._cluster = cluster
        self._client = client
        self._load = load
        self._random = random
        self._starts = [Tail(path) for path in logs_in(cluster.places.folder)]
        self._number = 0

    async def play(self, point: Point) -> Round:
        """One round."""
        await asyncio.to_thread(self._cluster.restart_ended)
        calm = await self._calm()
        round_ = await self._prepared(point, calm)
        self._load.tell("reopen")
        await moment(0.3 + self._random.random())
        self._arm(point, round_)
        if point.name.startswith("assignment"):
            await self._move_a_shard()
        await self._await_shot(round_)
        try:
            if round_.killed_ms is not None:
                await self._bring_back(round_)
            await self._whole_again(round_)
        except (AssertionError, timeball.errors.TimeballError, SystemExit) as late:
            round_.stuck = str(late)[:LONGEST_WORDS]
        round_.ended_ms = wall_ms()
        return round_

    async def _prepared(self, point: Point, calm: bool) -> Round:
        overview = await self._client.cluster()
        victim = overview.leader
        if point.role != "coordinator":
            owned = Counter(each.owner for each in overview.shards)
            enough = [x for x in SCHEDULERS if owned[x] * LEAST_SHARE >= len(overview.shards)]
            victim = self._random.choice(enough if point.role == "scheduler" else EXECUTORS)
        self._number += 1
        return Round(
            number=self._number,
            point=point.name,
            victim=victim,
            incarnation=next((x.incarnation for x in overview.nodes if x.name == victim), 0),
            away_s=self._random.choice(AWAY_S),
            delay_ms=round(point.drawn_delay_ms(self._random), 3),
            began_ms=wall_ms(),
            calm=calm,
            shards={each.shard: each.epoch for each in overview.shards if each.owner == victim},
        )

    def _arm(self, point: Point, round_: Round) -> None:
        self._cluster.shots()
        self._cluster.aim(
            number=round_.number,
            point=point.name,
            pid=self._cluster.pid(round_.victim),
            wires=point.wires(round_.victim),
            owner=round_.victim if point.role == "scheduler" else "",
            skip=self._random.randint(0, point.skip),
            delay_ms=round_.delay_ms,
        )

    async def _move_a_shard(self) -> None:
        """An operator's wish makes the leader write an assignment."""
        overview = await self._client.cluster()
        counts = dict.fromkeys(SCHEDULERS, 0)
        for each in overview.shards:
            counts[each.owner] = counts.get(each.owner, 0) + 1
        fullest, emptiest = sorted(SCHEDULERS, key=lambda name: -counts[name])
        shard = self._random.choice([x.shard for x in overview.shards if x.owner == fullest])
        options = ZooKeeperOptions(hosts=self._cluster.zookeeper, root="/timeball")
        session = await open_session(options, SystemClock())
        try:
            await session.write_wish(ShardId(shard), NodeId(emptiest))
        finally:
            await session.close()

    async def _await_shot(self, round_: Round) -> None:
        async def look() -> dict[str, Any] | None:
            return next(iter(self._cluster.shots()), None)

        try:
            round_.shot = await eventually(look, "the point is reached", HIT_WITHIN_S)
        except AssertionError:
            self._cluster.disarm()
            round_.shot = next(iter(self._cluster.shots()), {})

    async def _bring_back(self, round_: Round) -> None:
        """The victim's command line again, inside or beyond its old session."""

        async def dead() -> bool:
            return self._cluster.is_dead(round_.victim)

        await eventually(dead, f"{round_.victim} is dead")
        await moment(round_.away_s)
        await asyncio.to_thread(self._cluster.restart, round_.victim)
        await eventually(lambda: self._lives_again(round_), "it is a new member", WHOLE_WITHIN_S)

    async def _whole_again(self, round_: Round) -> None:
        """Everything has its owner; that all shards have moved back is not waited for too long."""
        try:
            await whole(self._cluster, self._client, BALANCE_WITHIN_S)
        except AssertionError:
            round_.balanced = False
            await whole(self._cluster, self._client, WHOLE_WITHIN_S, balanced=False)

    async def _lives_again(self, round_: Round) -> bool:
        """Whether the victim's next life is a member; the dead one is until its session ends."""
        try:
            overview = await self._client.cluster()
        except timeball.errors.TimeballError:
            return False
        found = {node.incarnation for node in overview.nodes if node.name == round_.victim}
        return bool(found) and round_.incarnation not in found

    async def _calm(self) -> bool:
        """Everybody starts in time and answers come; a cluster that cannot is given a pause."""
        end_s = mono_s() + CALM_WITHIN_S
        while mono_s() < end_s:
            if await self._is_calm():
                return True
        await self._load.quiet(WHOLE_WITHIN_S)
        self._load.tell("go")
        await moment(2 * LOOK_S)
        await self._is_calm()
        return await self._is_calm()

    async def _is_calm(self) -> bool:
        """Of the starts of the last moment nearly all were in time, and few answers wait."""
        self._late_ms()
        await moment(LOOK_S)
        late_ms = sorted(self._late_ms())
        waiting = self._load.look().get("unanswered", 0)
        enough = len(late_ms) > LOOK_S * self._load.rate / 4
        in_time = enough and late_ms[int(CALM_SHARE * len(late_ms))] < CALM_LATE_MS
        return in_time and waiting < self._load.rate / 2

    def _late_ms(self) -> list[int]:
        starts = (start_of(line) for tail in self._starts for line in tail.lines())
        return [start.started_ms - start.due_ms for start in starts]

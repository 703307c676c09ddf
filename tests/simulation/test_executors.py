"""One executor and owners that repeat themselves, come late, disagree and come back.

Whatever is said in whatever order, its books (tests/support/executor_desk.py) must hold: each order
begun once or given back for a reason that is true, nothing below the highest epoch, no result and
no word lost, and no slot idle while somebody waits for it.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.support.executor_desk import Desk, Run
from tests.support.executor_words import EXECUTOR, order, result
from timeball_server.core.ids import Epoch, ShardId
from timeball_server.core.messages import RunOrder, RunPhase
from timeball_server.core.model import Failure

OWNERS = ("s1", "s2")
SHARDS = 3
STEPS = 250
ROUNDS = 16
NO = Failure(kind="OSError", message="no")


class Day:
    """One executor's day, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"{seed} executor")
        held = [self._order(900 + each, key="k") for each in range(seed % 3)]
        self.desk = Desk(held=held, most=7 if seed % 4 == 3 else 1_000)
        self.orders = held
        self.owned = [(Epoch(1), "s1")] * SHARDS
        self.ms = 0

    def _order(self, number: int, key: str = "", epoch: int = 1) -> RunOrder:
        chance = self.chance
        handler = chance.choice(("echo", "echo", "echo", "capped", "capped", "unknown"))
        made = order(
            number,
            shard=number % SHARDS,
            epoch=epoch,
            handler="echo" if key else handler,
            priority=chance.randint(0, 9),
            due_ms=chance.randint(0, 99),
        )
        return replace(made, concurrency_key=key)

    def live(self) -> None:
        """Let all kinds of things happen; then all ends, and everybody hears of it."""
        steps = (
            *[self.orders_come] * 8,
            *[self.begins] * 6,
            *[self.ends] * 5,
            *[self.speaks] * 5,
            *[self.acknowledged] * 3,
            *[self.returns] * 3,
            self.fences,
            self.moves,
            self.revokes,
            self.cancels,
            self.repeats,
            self.late,
            self.connects,
            self.breaks,
        )
        for owner in OWNERS:
            self.desk.connect(owner)
        self.fences()
        for number in range(STEPS):
            self.ms += 1
            self.chance.choice(steps)()
            if number == STEPS * 4 // 5:
                self.desk.drain()
                self.desk.drain()

    # Owners -------------------------------------------------------------------------------------

    def _owner(self, shard: int) -> tuple[Epoch, str]:
        """Who owns a shard, with a stream on which it has asked for all of it."""
        epoch, owner = self.owned[shard]
        if owner not in self.desk.streams:
            self.desk.connect(owner)
        if self.desk.owners.get(ShardId(shard)) != (epoch, owner):
            self.desk.fence(owner, self.ms, {ShardId(shard): epoch})
        return epoch, owner

    def orders_come(self) -> None:
        """Some at once, of one shard."""
        shard = self.chance.randrange(SHARDS)
        epoch, owner = self._owner(shard)
        count = self.chance.choice((1, 1, 2, 3))
        numbers = [len(self.orders) + each for each in range(count)]
        made = [self._order(SHARDS * each + shard, epoch=epoch) for each in numbers]
        self.orders += made
        other = self.chance.random() < 0.05
        self.desk.dispatch(owner, made, EXECUTOR + other)

    def _known(self) -> RunOrder | None:
        waiting = [run.order for run in self.desk.of(RunPhase.ACCEPTED)]
        if waiting and self.chance.random() < 0.5:
            return self.chance.choice(waiting)
        return self.chance.choice(self.orders) if self.orders else None

    def repeats(self) -> None:
        """The same order once more, by whoever owns its shard now."""
        of = self._known()
        if of is not None:
            epoch, owner = self._owner(of.shard)
            run = self.desk.runs.get(of.run)
            if run is not None and of.handler != "unknown":
                self.desk.dispatch(owner, [replace(of, epoch=epoch)])

    def late(self) -> None:
        """Somebody who does not own the shard any more says something; nobody believes it."""
        of = self._known()
        lower = [] if of is None else list(range(1, self.owned[of.shard][0]))
        if of is None or not lower:
            return
        epoch, owner = Epoch(self.chance.choice(lower)), self.chance.choice(OWNERS)
        if owner in self.desk.streams:
            self.chance.choice(
                (
                    lambda: self.desk.dispatch(owner, [replace(of, epoch=epoch)]),
                    lambda: self.desk.revoke(owner, of, epoch),
                    lambda: self.desk.cancel(owner, of, epoch, if_silent=False),
                    lambda: self.desk.acknowledge(owner, of, epoch),
                    lambda: self.desk.fence(owner, self.ms, {of.shard: epoch}),
                )
            )()

    def moves(self) -> None:
        """A shard changes hands: the new owner asks before it does anything."""
        shard = self.chance.randrange(SHARDS)
        epoch, _ = self.owned[shard]
        self.owned[shard] = (Epoch(epoch + 1), self.chance.choice(OWNERS))
        self.fences()

    def fences(self) -> None:
        """Owners ask for everything of their shards."""
        for owner in OWNERS:
            mine = {ShardId(s): epoch for s, (epoch, who) in enumerate(self.owned) if who == owner}
            if owner in self.desk.streams and mine:
                self.desk.fence(owner, self.ms, mine)

    def revokes(self) -> None:
        of = self._known()
        if of is not None:
            epoch, owner = self._owner(of.shard)
            self.desk.revoke(owner, of, epoch)

    def cancels(self) -> None:
        of = self._known()
        if of is not None:
            epoch, owner = self._owner(of.shard)
            self.desk.cancel(owner, of, epoch, if_silent=self.chance.random() < 0.5)

    def acknowledged(self) -> None:
        """Now and then of a run that has not ended, which means nothing."""
        early = self.chance.random() < 0.1
        ended = self.desk.of(RunPhase.RUNNING if early else RunPhase.FINISHED)
        if ended:
            of = self.chance.choice(ended).order
            epoch, owner = self._owner(of.shard)
            self.desk.acknowledge(owner, of, epoch)

    def connects(self) -> None:
        owner = self.chance.choice(OWNERS)
        self.desk.connect(owner)
        mine = {ShardId(s): epoch for s, (epoch, who) in enumerate(self.owned) if who == owner}
        if mine and self.chance.random() < 0.7:
            self.desk.fence(owner, self.ms, mine)

    def breaks(self) -> None:
        self.desk.breaks(self.chance.choice(OWNERS))

    # Handlers -----------------------------------------------------------------------------------

    def _running(self, *, begun: bool) -> Run | None:
        running = self.desk.of(RunPhase.RUNNING)
        fit = [run for run in running if (run.started_ms is not None) is begun]
        return self.chance.choice(fit) if fit else None

    def begins(self) -> None:
        run = self._running(begun=False)
        if run is not None:
            self.desk.begins(run, self.ms)

    def speaks(self) -> None:
        """Now and then of a run that is over, or several times before anybody is told."""
        run = self._running(begun=True)
        if self.chance.random() < 0.1 and self.desk.runs:
            run = self.chance.choice(list(self.desk.runs.values()))
            run = None if run.phase is RunPhase.RUNNING else run
        for each in range(self.chance.choice((1, 1, 2))):
            mark = f"{self.ms} {each}".encode() if self.chance.random() < 0.5 else b""
            if run is not None:
                self.desk.speaks(run, self.chance.random(), mark)
        if self.chance.random() < 0.8:
            self.desk.flush()

    def ends(self) -> None:
        run = self._running(begun=True)
        if run is not None:
            made = result(run.order, run.started_ms or 0)
            if self.chance.random() < 0.5:
                made = replace(made, result=None, failure=NO)
            self.desk.ends(run, made, holds_slot=self.chance.random() < 0.3)

    def returns(self) -> None:
        late = [run for run in self.desk.of(RunPhase.FINISHED) if run.holds_slot]
        late += [run for run in self.desk.runs.values() if run.phase is None and run.holds_slot]
        if late:
            self.desk.returns(self.chance.choice(late))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_whatever_owners_say_the_books_hold(seed: int) -> None:
    day = Day(seed)
    day.live()
    over = [run for run in day.desk.runs.values() if run.phase is None]
    assert len(over) > 5, "hardly anything happened"

"""A write that is given up is the end of its epoch, however soon the lease is proven again."""

from __future__ import annotations

from collections.abc import Sequence

from timeball.errors import OutcomeUnknown

from tests.support.shell_world import EPOCH, SHARD, ShellWorld
from tests.support.virtual_loop import VirtualLoop, run_virtual
from timeball_server.core.commands import Rejected, RejectionReason
from timeball_server.core.journal import Row
from timeball_server.store.memory import MemoryStore

LEASE_MS = 4_000
HOUR_MS = 3_600_000


class DumbStore(MemoryStore):
    """Answers reads; of a write nobody ever hears."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def append(self, rows: Sequence[Row]) -> None:
        self.asked += 1
        raise OutcomeUnknown("no answer")


def test_a_write_that_is_given_up_ends_the_epoch_although_the_lease_came_back() -> None:
    async def story(loop: VirtualLoop) -> None:
        store = DumbStore()
        world = ShellWorld(loop, store)
        await world.own()
        asked = world.create(HOUR_MS)
        await world.steps(3)
        assert store.asked > 0
        # The loop stands still for longer than the lease; the session itself stays alive.
        await world.clock.sleep_ms(LEASE_MS + 1_500)
        given_up_at = store.asked
        await world.clock.sleep_ms(1_500)
        assert store.asked == given_up_at, "without a lease nothing is sent"
        await world.steps(2)
        assert world.ended == [(SHARD, EPOCH)], "a second content for the key could follow"
        (outcome,) = await asked
        assert isinstance(outcome, Rejected)
        assert outcome.reason is RejectionReason.UNKNOWN
        assert not world.shell.owns(SHARD, EPOCH)

    run_virtual(story)


def test_a_pause_that_gives_up_no_write_costs_nothing() -> None:
    async def story(loop: VirtualLoop) -> None:
        world = ShellWorld(loop, DumbStore())
        await world.own()
        await world.clock.sleep_ms(LEASE_MS + 1_500)
        await world.steps(2)
        assert world.ended == []
        assert world.shell.owns(SHARD, EPOCH)

    run_virtual(story)

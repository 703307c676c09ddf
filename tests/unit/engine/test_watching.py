"""Those who follow tasks: what they are told, when, and by whom they are told no more."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.support.engine_executors import ScriptedExecutor
from tests.support.engine_world import SHARD, Call, Node, World
from timeball_server.core.commands import Done, Outcome, Rejected, RejectionReason, WatchTask
from timeball_server.core.engine import effects as fx
from timeball_server.core.engine import events as ev
from timeball_server.core.ids import TaskId
from timeball_server.core.journal import EventKind
from timeball_server.core.model import PublicState


@dataclass
class Follower:
    """Somebody who follows a task, and everything that was told so far."""

    node: Node
    call: Call

    @property
    def told(self) -> list[Outcome]:
        return [
            effect.outcome
            for effect in self.node.log
            if isinstance(effect, fx.Reply) and effect.token == self.call.token
        ]

    @property
    def states(self) -> list[PublicState | RejectionReason]:
        return [_named(each) for each in self.told]


def _named(outcome: Outcome) -> PublicState | RejectionReason:
    if isinstance(outcome, Done):
        return outcome.task.state
    assert isinstance(outcome, Rejected)
    return outcome.reason


def follow(node: Node, task_id: TaskId, *, every: bool = True, namespace: str = "shop") -> Follower:
    command = WatchTask(task_id=task_id, namespace=namespace, every=every)
    return Follower(node, node.ask(command, task_id))


def test_the_present_state_and_every_change_are_told() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create(in_ms=5_000)
    follower = follow(node, call.task_id)
    assert follower.states == [PublicState.SCHEDULED]
    world.run(6_000)
    executor.starts(executor.last)
    executor.fails(executor.last, delay_ms=500)
    world.run(1_000)
    executor.succeeds(executor.last)
    assert follower.states == [
        PublicState.SCHEDULED,
        PublicState.SCHEDULED,
        PublicState.RUNNING,
        PublicState.RETRYING,
        PublicState.SCHEDULED,
        PublicState.SUCCEEDED,
    ]
    assert node.engine.shards[SHARD].watchers == {}


def test_who_waits_for_the_end_hears_nothing_else() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create(in_ms=5_000)
    follower = follow(node, call.task_id, every=False)
    world.run(6_000)
    executor.starts(executor.last)
    assert follower.states == []
    executor.succeeds(executor.last)
    assert follower.states == [PublicState.SUCCEEDED]


def test_nothing_is_told_before_it_is_durable() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    follower = follow(node, call.task_id)
    node.hold_writes = True
    executor.succeeds(executor.last)
    assert PublicState.SUCCEEDED not in follower.states
    node.release_writes()
    assert follower.states[-1] is PublicState.SUCCEEDED


def test_who_follows_no_longer_is_told_nothing() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    follower = follow(node, call.task_id)
    before = list(follower.told)
    node.feed(ev.WatchEnded(follower.call.token, call.task_id))
    executor.succeeds(executor.last)
    assert follower.told == before
    assert node.engine.shards[SHARD].watchers == {}


def test_an_ended_task_is_told_once() -> None:
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    executor.succeeds(executor.last)
    for every in (True, False):
        follower = follow(node, call.task_id, every=every)
        assert follower.states == [PublicState.SUCCEEDED]
    assert node.engine.shards[SHARD].watchers == {}


@pytest.mark.parametrize("every", [True, False])
def test_what_the_caller_may_not_see_is_not_there(every: bool) -> None:
    world = World()
    node = world.owner()
    call = node.create(in_ms=5_000)
    assert follow(node, call.task_id, every=every, namespace="bank").states == [
        RejectionReason.NOT_FOUND
    ]


def test_a_new_owner_shows_an_open_task_only_when_it_is_its_own() -> None:
    """Rule R17."""
    world = World()
    first = world.owner()
    call = first.create(in_ms=3_600_000)
    second = world.owner()
    follower = follow(second, call.task_id)
    assert follower.states == [PublicState.SCHEDULED]
    kinds = [row.kind for row in world.disk.history(call.task_id).chain]
    assert kinds[-1] is EventKind.ADOPTED


def test_nothing_is_pinned_for_who_waits_for_the_end() -> None:
    world = World()
    first = world.owner()
    call = first.create(in_ms=3_600_000)
    second = world.owner()
    follower = follow(second, call.task_id, every=False)
    assert follower.states == []
    kinds = [row.kind for row in world.disk.history(call.task_id).chain]
    assert kinds == [EventKind.CREATED]
    second.cancel(call.task_id)
    assert follower.states == [PublicState.CANCELLED]


def test_an_owner_that_loses_the_shard_says_so() -> None:
    world = World()
    node = world.owner()
    call = node.create(in_ms=5_000)
    follower, waiter = follow(node, call.task_id), follow(node, call.task_id, every=False)
    node.feed(ev.ShardLost(SHARD))
    assert follower.states == [PublicState.SCHEDULED, RejectionReason.NOT_OWNED]
    assert waiter.states == [RejectionReason.NOT_OWNED]


def test_an_owner_without_its_lease_tells_nothing() -> None:
    """Rule R3: what became durable after the lease is not told."""
    world = World()
    executor = ScriptedExecutor(world)
    node = world.owner()
    call = node.create()
    follower = follow(node, call.task_id)
    node.hold_writes = True
    executor.succeeds(executor.last)
    node.renews = False
    world.run(60_000)
    node.release_writes()
    assert follower.states[-1] is RejectionReason.NOT_OWNED
    assert PublicState.SUCCEEDED not in follower.states

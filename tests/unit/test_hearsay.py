"""Hints for callers who came to the wrong node."""

from __future__ import annotations

from scheduler_node.hearsay import NOBODY, read_owners, with_hints
from tests.support.fake_owners import Rig, on_rig
from tests.support.rpc_records import EMPTY_ID, plain_spec, plain_view
from timeball_server.core.commands import Done, OwnerHint, ReadTask, Rejected, RejectionReason
from timeball_server.core.ids import Epoch, NodeId, ShardId

READ = ReadTask(task_id=EMPTY_ID, namespace="default")
HINT = OwnerHint(NodeId("east"), "east:1", Epoch(7))
ASTRAY = Rejected(RejectionReason.NOT_OWNED, "not ours")
MISSING = Rejected(RejectionReason.NOT_FOUND, "no such task")


def test_only_who_is_astray_gets_a_hint() -> None:
    done = Done(plain_view(plain_spec()))
    owners = {ShardId(3): HINT}
    told = with_hints([READ] * 3, [done, ASTRAY, MISSING], owners)
    hinted = Rejected(RejectionReason.NOT_OWNED, "not ours", owner=HINT)
    assert list(told) == [done, hinted, MISSING]
    assert list(with_hints([READ], [ASTRAY], NOBODY)) == [ASTRAY]


@on_rig
async def test_the_others_are_known_with_address_and_epoch(rig: Rig) -> None:
    await rig.node("west", 0)
    east = await rig.node("east", 1)
    owners = await read_owners(rig.sessions["west"], NodeId("west"))
    epoch = east.epochs[ShardId(1)]
    assert owners == {ShardId(1): OwnerHint(NodeId("east"), "east:1", epoch)}

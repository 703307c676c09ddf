"""Standbys: ephemeral entries that say who is ready to take a shard which another node still owns.

They are hints between the two nodes of a hand-over; ownership alone decides (R1).
"""

from __future__ import annotations

from collections.abc import Mapping

from kazoo.exceptions import NodeExistsError, NoNodeError

from timeball_server.coordination.zookeeper import layout as words
from timeball_server.coordination.zookeeper import requests
from timeball_server.coordination.zookeeper.calls import Calls
from timeball_server.core.ids import NodeId, ShardId


async def stand_by(calls: Calls, shard: ShardId) -> bool:
    """Make the entry; False if another session has it."""
    name = "stand_by"
    joined = calls.require_joined(name)
    path = calls.layout.standby(shard)
    try:
        await calls.create(name, path, words.write_node(joined.node))
    except NodeExistsError:
        found = await calls.look(name, path)
        return found is not None and calls.is_mine(found)
    return True


async def stand_down(calls: Calls, shard: ShardId) -> None:
    """Remove the entry if it is ours."""
    name, path = "stand_down", calls.layout.standby(shard)
    found = await calls.look(name, path)
    if found is not None and calls.is_mine(found):
        removal = requests.delete(path, found.version)
        await calls.together(name, removal, expected=(NoNodeError,))


async def standbys(calls: Calls) -> Mapping[ShardId, NodeId]:
    """Who stands by for what; entries that cannot be read are left out."""
    found: dict[ShardId, NodeId] = {}
    for entry in await calls.mirror.standbys.read("standbys"):
        shard, node = words.shard_of(entry.name), words.read_node(entry.data)
        if shard is not None and node is not None:
            found[shard] = node
    return found

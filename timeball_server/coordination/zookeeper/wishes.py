"""An operator's wishes: one entry beside the assignment that outlives every session.

There are a handful of wishes at a time, so all are one entry, replaced on its version: whoever
loses a race reads again. Never decides what becomes of a wish; the leader's plan does.
"""

from __future__ import annotations

from collections.abc import Mapping

from kazoo.exceptions import BadVersionError
from timeball.errors import CoordinationUnavailable, Internal

from timeball_server.coordination.zookeeper import layout as words
from timeball_server.coordination.zookeeper import requests
from timeball_server.coordination.zookeeper.calls import Calls
from timeball_server.core.ids import NodeId, ShardId

_TRIES = 10
"""Operators write seldom; who loses so many races in a row is told to repeat."""


async def read_wishes(calls: Calls) -> Mapping[ShardId, NodeId]:
    """All wishes."""
    wishes, _ = await _read(calls, "read_wishes")
    return wishes


async def write_wish(calls: Calls, shard: ShardId, node: NodeId | None) -> None:
    """Wish a shard on a node, or take the wish back."""
    name = "write_wish"
    for _ in range(_TRIES):
        wishes, version = await _read(calls, name)
        others = {each: where for each, where in wishes.items() if each != shard}
        wanted = others if node is None else others | {shard: node}
        if wanted == wishes or await _replace(calls, name, wanted, version):
            return
    raise CoordinationUnavailable(f"{name}: others write wishes all the time; repeat the call")


async def _read(calls: Calls, name: str) -> tuple[dict[ShardId, NodeId], int]:
    """The wishes and the version of their entry."""
    data, version = await calls.mirror.read_document(name, calls.layout.wishes)
    try:
        return words.read_wishes(data), version
    except ValueError as error:
        raise Internal(
            f"The wishes in {calls.layout.wishes} cannot be read ({error}). "
            "Run the version that wrote them, or empty the entry."
        ) from error


async def _replace(calls: Calls, name: str, wishes: Mapping[ShardId, NodeId], version: int) -> bool:
    """Write them unless somebody wrote since."""
    change = requests.replace(calls.layout.wishes, words.write_wishes(wishes), version)
    return await calls.together(name, change, expected=(BadVersionError,)) is not None

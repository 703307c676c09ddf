"""Moves a shard's watermarks: the conditional write, then its plain copy for readers (R18, R20).

An ambiguous write ends in a serial read: what stands there is the answer. Never decides how far.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from timeball.errors import Unavailable

from scheduler_node.finding import Insist
from timeball_server.core.ids import Epoch, ShardId
from timeball_server.ports.store import Applied, NotApplied, OwnerRow, ShardRow, Store

Write = Callable[[], Awaitable[Applied | NotApplied]]


class Watermarks:
    """The watermarks of the shards that this node owns.

    Args:
        insist: raises when the shard is not ours any more; then the move ends without a word.
        publish: builds the owner row that readers see for a shard row.
    """

    def __init__(
        self, store: Store, *, insist: Insist, publish: Callable[[ShardRow], OwnerRow]
    ) -> None:
        self._store = store
        self._insist = insist
        self._publish = publish

    async def move(
        self, shard: ShardId, epoch: Epoch, write: Write, is_reached: Callable[[ShardRow], bool]
    ) -> ShardRow | None:
        """The shard's row with the watermark moved; None = somebody else's epoch stands there.

        Args:
            write: the conditional write.
            is_reached: whether a row of our epoch has the watermark where it should be.
        """
        row = await self._insist(shard, epoch, lambda: self._moved(shard, write))
        if row.epoch != epoch or not is_reached(row):
            return None
        await self._insist(shard, epoch, lambda: self._store.write_owner(self._publish(row)))
        return row

    async def _moved(self, shard: ShardId, write: Write) -> ShardRow:
        """What stands there after the write."""
        answer = await write()
        if not isinstance(answer, Applied):
            return answer.row
        row = await self._store.read_shard(shard)
        if row is None:
            raise Unavailable(f"shard {shard} has no row after it was written")
        return row

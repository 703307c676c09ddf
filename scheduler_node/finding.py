"""Looks for tasks whose creation may have been carried out before (rule R8), many in one read.

After a take-over every creation that was asked for before it has to be looked for, and each marked
repetition at any time: one by one they would cost a store more than all other work together, and
hold up the reading of what is due. So of one bucket one search is under way at a time, and what is
asked meanwhile is the next one. Must never answer from anything but a read that began later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from timeball_server.core.engine import events
from timeball_server.core.engine.effects import FindTask
from timeball_server.core.ids import Bucket, Epoch, IdParts, ShardId, TaskId, encode_id
from timeball_server.core.journal import EventRow
from timeball_server.ports.store import Store

T = TypeVar("T")
MOST_AT_ONCE: Final = 500
_LAST_UNIQUE: Final = b"\xff" * 16


class Insist(Protocol):
    """Repeats a call until it is answered, for as long as the shard is ours."""

    async def __call__(self, shard: ShardId, epoch: Epoch, ask: Callable[[], Awaitable[T]], /) -> T:
        """The answer."""
        ...


class _Place(NamedTuple):
    """Where searches can share a read: a bucket, all of its parts."""

    shard: ShardId
    epoch: Epoch
    home: Bucket


class Finder:
    """Searches by unique number.

    Args:
        insist: raises when the shard is not ours any more; then the search ends without a word.
        start: runs the searches of a bucket in the background.
    """

    def __init__(
        self,
        store: Store,
        *,
        post: Callable[[events.Event], None],
        insist: Insist,
        start: Callable[[str, Coroutine[Any, Any, None]], object],
    ) -> None:
        self._store = store
        self._post = post
        self._insist = insist
        self._start = start
        self._wanted: dict[_Place, list[bytes]] = {}
        self._searching: set[_Place] = set()

    def want(self, effect: FindTask) -> None:
        """Search for this one with all others of its bucket; `flush` begins."""
        place = _Place(effect.shard, effect.epoch, Bucket(effect.home.minute, effect.home.shard))
        self._wanted.setdefault(place, []).append(effect.unique)

    def flush(self) -> None:
        """Begin in every bucket where no search is under way."""
        if not self._wanted:
            return
        for place in self._wanted.keys() - self._searching:
            self._searching.add(place)
            self._start("find", self._search(place))

    async def _search(self, place: _Place) -> None:
        try:
            while wanted := self._wanted.pop(place, None):
                if len(wanted) > MOST_AT_ONCE:
                    self._wanted[place] = wanted[MOST_AT_ONCE:]
                await self._find(place, wanted[:MOST_AT_ONCE])
        finally:
            self._searching.discard(place)
            self._wanted.pop(place, None)

    async def _find(self, place: _Place, uniques: Sequence[bytes]) -> None:
        """Nearly every bucket has one part; the others are looked into only where they exist."""
        ids = {unique: encode_id(IdParts(place.home, unique)) for unique in uniques}
        journals = await self._insist(
            place.shard, place.epoch, lambda: self._store.read_journals(tuple(ids.values()))
        )
        missing = [unique for unique, task_id in ids.items() if task_id not in journals]
        elsewhere = bool(missing) and await self._has_more_parts(place)
        for unique, task_id in ids.items():
            rows: Sequence[EventRow] = journals.get(task_id, ())
            if not rows and elsewhere:
                rows = await self._in_any_part(place, unique)
            self._post(events.TaskFound(place.shard, place.epoch, unique, rows))

    async def _has_more_parts(self, place: _Place) -> bool:
        """Whether any task lies behind the first part."""
        last: TaskId = encode_id(IdParts(place.home, _LAST_UNIQUE))
        behind = await self._insist(
            place.shard,
            place.epoch,
            lambda: self._store.read_bucket_journals(place.home.minute, place.shard, last, 1),
        )
        return bool(behind)

    async def _in_any_part(self, place: _Place, unique: bytes) -> Sequence[EventRow]:
        return await self._insist(
            place.shard, place.epoch, lambda: self._store.find_journal(place.home, unique)
        )

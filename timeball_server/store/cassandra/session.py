"""Runs statements by name from the event loop. Owns requests in flight and the end of service.

Never waits for the driver on the loop: answers come through the bridge, each within the request
timeout, because the driver's own timer ends a request that no node answers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cassandra.query import BatchStatement, BatchType, BoundStatement
from timeball.errors import Internal, OutcomeUnknown, StoreUnavailable

from timeball_server.store.cassandra.bridge import Bridge, Call
from timeball_server.store.cassandra.driver import PROTOCOL_VERSION
from timeball_server.store.cassandra.encoding import MISTAKES, Encoder, encode, encoder_of
from timeball_server.store.cassandra.failures import Effect, meaning
from timeball_server.store.cassandra.rows import Values, Write
from timeball_server.store.cassandra.statements import STATEMENTS, Level

PAGE_ROWS: Final = 1_000
"""Rows of one answer; more are fetched page by page."""
MAX_READS_IN_FLIGHT: Final = 32
MAX_BATCHES_IN_FLIGHT: Final = 8

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that the servers know, and how each of its values is written."""

    statement: Any
    encoders: tuple[Encoder, ...]
    query_id: bytes


class Session:
    """One connected keyspace; made on the loop from a driver session that `prepare` has seen."""

    def __init__(self, cluster: Any, driver: Any, prepared: Mapping[str, Prepared]) -> None:
        self.bridge = Bridge()
        self.requests: Counter[str] = Counter()
        """How often each statement was sent, pages and rows of batches not counted."""
        self._cluster = cluster
        self._driver = driver
        self._prepared = prepared
        self._reads = asyncio.Semaphore(MAX_READS_IN_FLIGHT)
        self._batches = asyncio.Semaphore(MAX_BATCHES_IN_FLIGHT)
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing: asyncio.Task[None] | None = None

    @property
    def cluster_name(self) -> str:
        """What the database calls itself."""
        return str(self._cluster.metadata.cluster_name)

    async def read(self, name: str, values: Sequence[object]) -> list[Values]:
        """All rows of a query, page after page.

        Raises:
            StoreUnavailable: no answer, or the store is closed.
        """
        return await self._in_service(self._read(name, self._bind(name, values)))

    async def write(self, name: str, values: Sequence[object]) -> None:
        """One plain write on one partition.

        Raises:
            StoreUnavailable: nothing was written.
            OutcomeUnknown: nobody knows.
        """
        bound = self._bind(name, values)
        self.requests[name] += 1
        await self._in_service(self._once(bound, Level.PLAIN, Effect.ONE_PARTITION))

    async def write_batches(self, batches: Sequence[Sequence[Write]]) -> None:
        """Plain writes, several requests at a time; returns when all are durable.

        Raises:
            StoreUnavailable: nothing of any batch was written.
            OutcomeUnknown: something may have been written; the others have ended too.
        """
        # Everything is bound before anything is sent: a value that does not fit writes nothing.
        ready = [(self._batch(batch), _effect(batch)) for batch in batches]
        for batch in batches:
            self.requests.update({write.statement for write in batch})
        await self._in_service(self._send_all(ready))

    async def conditional(self, name: str, values: Sequence[object]) -> dict[str, Any] | None:
        """None when it was applied, otherwise what the server says stands there.

        Raises:
            StoreUnavailable: it was not sent.
            OutcomeUnknown: it may be applied, now or by a later round; read serially.
        """
        bound = self._bind(name, values)
        self.requests[name] += 1
        answer = await self._in_service(
            self._once(bound, Level.CONDITIONAL, Effect.MANY_PARTITIONS)
        )
        row: dict[str, Any] = answer[0]
        return None if row["[applied]"] else row

    async def close(self) -> None:
        """Refuse new requests, wait for those in flight, disconnect; safe to repeat."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._idle.wait()
        await asyncio.to_thread(self._cluster.shutdown)

    async def _in_service(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        if self._closing is not None:
            work.close()
            raise StoreUnavailable("The store is closed; nothing was written.")
        self._in_flight += 1
        self._idle.clear()
        try:
            return await work
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def _read(self, name: str, bound: Any) -> list[Values]:
        self.requests[name] += 1
        async with self._reads:
            call = Call()
            try:
                response = self._send(bound, STATEMENTS[name].level, call)
                rows: list[Values] = await call.answer
                while response.has_more_pages:
                    call.next_page()
                    response.start_fetching_next_page()
                    rows += await call.answer
            except Exception as error:
                raise meaning(error, Effect.READ) from error
            return rows

    async def _send_all(self, ready: Sequence[tuple[Any, Effect]]) -> None:
        if len(ready) == 1:
            await self._send_batch(*ready[0])
            return
        outcomes = await asyncio.gather(
            *(self._send_batch(*each) for each in ready), return_exceptions=True
        )
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures:
            raise _of_all(failures, is_partial=len(failures) < len(outcomes))

    async def _send_batch(self, statement: Any, effect: Effect) -> None:
        async with self._batches:
            await self._once(statement, Level.PLAIN, effect)

    async def _once(self, statement: Any, level: Level, effect: Effect) -> Any:
        call = Call()
        try:
            self._send(statement, level, call)
            return await call.answer
        except Exception as error:
            raise meaning(error, effect) from error

    def _send(self, statement: Any, level: Level, call: Call) -> Any:
        response = self._driver.execute_async(statement, execution_profile=level.value)
        response.add_callbacks(
            self.bridge.arrived, self.bridge.failed, callback_args=(call,), errback_args=(call,)
        )
        return response

    def _bind(self, name: str, values: Sequence[object]) -> Any:
        bound = BoundStatement(self._prepared[name].statement)
        bound.values = self._encode(name, values)
        return bound

    def _encode(self, name: str, values: Sequence[object]) -> list[Any]:
        try:
            return encode(self._prepared[name].encoders, values)
        except MISTAKES as error:
            raise Internal(
                f"A value of {name} cannot be stored: {error}. Nothing was written. "
                "Please report this."
            ) from error

    def _batch(self, writes: Sequence[Write]) -> Any:
        """One statement for all; it goes where its first row belongs.

        The others are put where the driver's `add` puts them. It would look at each for its place,
        and at nothing else that ours have: a third of what a row costs before it is sent.
        """
        first = self._bind(writes[0].statement, writes[0].values)
        if len(writes) == 1:
            return first
        batch = BatchStatement(batch_type=BatchType.UNLOGGED)
        batch.add(first)
        prepared = self._prepared
        batch._statements_and_parameters.extend(
            (True, prepared[name].query_id, self._encode(name, values))
            for name, values, _, _ in writes[1:]
        )
        return batch


def prepare(driver: Any) -> dict[str, Prepared]:
    """Prepare every statement; called on a thread that may wait."""
    prepared: dict[str, Prepared] = {}
    for name, statement in STATEMENTS.items():
        found = driver.prepare(statement.cql)
        found.fetch_size = PAGE_ROWS
        found.is_idempotent = statement.is_idempotent
        encoders = [encoder_of(mark.type, PROTOCOL_VERSION) for mark in found.column_metadata]
        prepared[name] = Prepared(found, tuple(encoders), found.query_id)
    return prepared


def _of_all(failures: Sequence[BaseException], *, is_partial: bool) -> BaseException:
    """What several failures mean together: untouched only if every part of it is."""
    for kind in (Internal, OutcomeUnknown):
        for failure in failures:
            if isinstance(failure, kind):
                return failure
    if not is_partial:
        return failures[0]
    return OutcomeUnknown(
        "A part of the rows was written, another was not. Send the same rows again."
    )


def _effect(batch: Sequence[Write]) -> Effect:
    is_one = len({write.partition for write in batch}) == 1
    return Effect.ONE_PARTITION if is_one else Effect.MANY_PARTITIONS

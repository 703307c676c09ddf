"""`python -m tests.support.chaos.creations`: coordinators killed under a steady load of creations.

A smaller cluster than the rounds have: ZooKeeper, Cassandra, two coordinators, one scheduler node,
one executor. One creation in `DUE_EVERY` is due at once and must start exactly once; the others
are due in an hour. One in `UNARY_EVERY` goes by a unary call, the others over the SDK's stream.
After the last kill every creation must have been answered, with an id of its own, and asking for a
sample of them again, marked, must give the same ids. Prints a line of JSON; the exit code is 1 when
it says no.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import grpc
import grpc.aio
import timeball
from timeball import _requests, errors
from timeball._base import CHANNEL_OPTIONS
from timeball.settings import Settings
from timeball.v1 import task_service_pb2_grpc

from tests.support.chaos import tasks
from tests.support.polls import eventually, moment, mono_s
from tests.support.start_logs import all_starts
from tools.local_cluster import LocalCluster, Places, Shape, coordinators

DUE_EVERY: Final = 10
UNARY_EVERY: Final = 10
AGAIN: Final = 200
"""Creations that are asked for again at the end."""
RAMP_S: Final = 20.0
"""The rate grows for so long before the first kill."""
SETTLE_S: Final = 60.0
SHAPE: Final = Shape(schedulers=1, strengths=(10,))


@dataclass(slots=True)
class Book:
    """What was asked for and what was answered, by request id."""

    ids: dict[str, str] = field(default_factory=dict)
    due: set[str] = field(default_factory=set)
    wishes: dict[str, timeball.Submission[int]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    took_ms: dict[str, list[float]] = field(default_factory=lambda: {"unary": [], "streamed": []})


class Load:
    """Creates `rate` tasks a second until stopped."""

    def __init__(self, client: timeball.AsyncClient, rate: float) -> None:
        self.book = Book()
        self._client = client
        self._rate = rate
        self._calls: set[asyncio.Task[None]] = set()
        self._streamed: asyncio.Queue[tuple[str, float] | None] = asyncio.Queue()
        self._order: list[tuple[str, float]] = []
        self._going = True

    async def run(self) -> None:
        """Until `stop`; then until all is answered."""
        streaming = asyncio.create_task(self._stream())
        begun_s, number = mono_s(), 0
        while self._going:
            while number < self._rate * _ramped_s(mono_s() - begun_s):
                self._begin(number)
                number += 1
            await moment(0.01)
        await asyncio.gather(*self._calls)
        self._streamed.put_nowait(None)
        await streaming

    def stop(self) -> None:
        """Begin no more."""
        self._going = False

    def _begin(self, number: int) -> None:
        request_id = str(uuid.uuid4())
        is_due = number % (2 * DUE_EVERY) < 2  # two neighbours: one unary, one streamed
        delay = "0s" if is_due else "1h"
        if is_due:
            self.book.due.add(request_id)
        options = tasks.work.options(delay=delay, request_id=request_id)
        self.book.wishes[request_id] = options.prepare(number)
        if number % UNARY_EVERY:
            self._streamed.put_nowait((request_id, mono_s()))
            return
        call = asyncio.create_task(self._create(request_id, mono_s()))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _create(self, request_id: str, begun_s: float) -> None:
        try:
            handle = await self._client.submit(self.book.wishes[request_id])
        except errors.TimeballError as error:
            self.book.refused.append(f"unary: {error!r}")
            return
        self._note(request_id, handle, begun_s, "unary")

    async def _stream(self) -> None:
        async for index, answer in self._client.submit_many(self._source(), in_flight=10_000):
            request_id, begun_s = self._order[index]
            if isinstance(answer, errors.TimeballError):
                self.book.refused.append(f"stream: {answer!r}")
            else:
                self._note(request_id, answer, begun_s, "streamed")

    async def _source(self) -> AsyncIterator[timeball.Submission[int]]:
        while (wish := await self._streamed.get()) is not None:
            self._order.append(wish)
            yield self.book.wishes[wish[0]]

    def _note(
        self, request_id: str, handle: timeball.Handle[int], begun_s: float, way: str
    ) -> None:
        assert request_id not in self.book.ids, "answered twice"
        self.book.ids[request_id] = handle.id
        self.book.took_ms[way].append((mono_s() - begun_s) * 1_000)


def _ramped_s(passed_s: float) -> float:
    """Seconds at the full rate that are worth as much: a cold database is not met at once."""
    if passed_s < RAMP_S:
        return passed_s * passed_s / (2 * RAMP_S)
    return passed_s - RAMP_S / 2


async def play(
    cluster: LocalCluster, *, rate: float, kills: int, calm_s: float, random: Random
) -> dict[str, Any]:
    """Kill and restart coordinators under load, then compare."""
    async with timeball.AsyncClient(coordinators(cluster.addresses)) as client:
        await client.submit(tasks.work.prepare(0))
        load = Load(client, rate)
        loading = asyncio.create_task(load.run())
        await moment(RAMP_S)
        begun_s = mono_s()
        for _ in range(kills):
            await moment(calm_s * random.random() + 0.5)
            victim = random.choice(("coordinator-1", "coordinator-2"))
            await asyncio.to_thread(cluster.kill, victim)
            await moment(random.choice((0.0, 1.0, 5.0)))
            await asyncio.to_thread(cluster.restart, victim)
        await moment(calm_s)
        load.stop()
        lasted_s = mono_s() - begun_s
        await loading
        changed = await _asked_again(client.settings, load.book, random)
        starts = await _starts(cluster.places.folder, load.book)
    book = load.book
    ids = Counter(book.ids.values())
    return {
        "rate": rate,
        "kills": kills,
        "seconds": round(lasted_s, 1),
        "asked": len(book.wishes),
        "answered": len(book.ids),
        "refused": len(book.refused),
        "same_id_twice": sum(n - 1 for n in ids.values()),
        "changed_when_asked_again": changed,
        "due": len(book.due),
        "started_once": sum(starts.get(book.ids.get(r, ""), 0) == 1 for r in book.due),
        "started_again": sum(n > 1 for n in starts.values()),
        **{f"{way}_ms": _spread(took) for way, took in book.took_ms.items()},
        "examples": book.refused[:5],
    }


async def _asked_again(settings: Settings, book: Book, random: Random) -> int:
    """How many of a sample get another id when they are asked for again, marked."""
    changed = 0
    async with grpc.aio.insecure_channel(settings.target, CHANNEL_OPTIONS) as channel:
        stub = task_service_pb2_grpc.TaskServiceStub(channel)
        for request_id in random.sample(sorted(book.ids), min(AGAIN, len(book.ids))):
            task = _requests.task_of(book.wishes[request_id])
            request = _requests.create_task(settings, task, request_id)
            request.resend = True
            answer = await stub.CreateTask(request)
            changed += answer.task.name.rpartition("/")[2] != book.ids[request_id]
    return changed


async def _starts(folder: Path, book: Book) -> Counter[str]:
    """Starts by task, once all that was due has started."""
    due = {book.ids[request_id] for request_id in book.due if request_id in book.ids}

    async def look() -> bool:
        return due <= {start.task_id for start in all_starts(folder)}

    await eventually(look, "all that is due has started", SETTLE_S)
    mine = set(book.ids.values())
    return Counter(start.task_id for start in all_starts(folder) if start.task_id in mine)


def _spread(took_ms: list[float]) -> list[int]:
    """Median, 99th percentile and greatest."""
    cuts = statistics.quantiles(took_ms, n=100)
    return [round(cuts[49]), round(cuts[98]), round(max(took_ms))]


def main() -> int:
    """Play once and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=300.0, help="creations a second")
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--calm", type=float, default=3.0, help="seconds around kills")
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="timeball-creations-") as folder:
        places = Places(Path(folder) / "cluster")
        places.make()
        sink = places.folder / "sink.jsonl"
        cluster = LocalCluster(
            places, [str(tasks.__file__)], {tasks.SINK_VARIABLE: str(sink)}, shape=SHAPE
        )
        with cluster.running():
            random = Random(parsed.seed)
            told = asyncio.run(
                play(
                    cluster,
                    rate=parsed.rate,
                    kills=parsed.kills,
                    calm_s=parsed.calm,
                    random=random,
                )
            )
    print(json.dumps(told), flush=True)
    return 0 if _held(told) else 1


def _held(told: dict[str, Any]) -> bool:
    wrong = ("refused", "same_id_twice", "changed_when_asked_again", "started_again")
    whole = told["answered"] == told["asked"] and told["started_once"] == told["due"]
    return whole and not any(told[each] for each in wrong)


if __name__ == "__main__":
    sys.exit(main())

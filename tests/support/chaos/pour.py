"""`python -m tests.support.chaos.pour`: an open loop of creations in a process of its own.

Asks for `--rate` tasks a second whatever happens: one in twenty by a unary call of the SDK, the
others over one CreateTasks stream to each coordinator, opened again, or to another one, when it
breaks. What was asked and not answered is asked again with the same request id and the mark of a
resend. Every answer is a line of `acks.txt`, every refusal one of `refused.txt`, both appended.

Reads `pause`, `go`, `reopen` and `stop` from standard input; each second and at the end it says how
it stands, as JSON lines in `pour.jsonl`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import timeball
from timeball import _requests, errors
from timeball._base import CHANNEL_OPTIONS
from timeball._identifiers import new_request_id
from timeball.settings import resolve
from timeball.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc

from tests.support.chaos import tasks
from tests.support.chaos.tasks import DELAYS_MS, ONCE_EVERY, RETRY
from tests.support.polls import moment, wall_ms
from timeball_server.runtime.loops import LoopChoice, loop_factory

KINDS: Final = 50
"""Delays, priorities and modes come round after so many tasks."""
UNARY_EVERY: Final = 20
TICK_S: Final = 0.02
SAY_EVERY_TICKS: Final = 50
CHUNKS_UNANSWERED: Final = 8
CHUNK_REQUESTS: Final = 500
LONGEST_GATHERING_TICKS: Final = 64
REOPEN_S: Final = 0.05
FIRST_PAUSE_MS: Final = 200
LONGEST_PAUSE_MS: Final = 5_000
"""Between two requests for one task, doubling, as callers ought to."""
PATIENCE_MS: Final = 30_000
REPEATED: Final = frozenset({"UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED", "ABORTED"})


@dataclass(slots=True)
class Wish:
    """A task that is asked for."""

    request: task_service_pb2.CreateTaskRequest
    number: int
    asked_ms: int
    resends: int = 0

    def repeated(self) -> Wish:
        """The same wish, marked as one that may have been heard before."""
        self.request.resend = True
        self.resends += 1
        return self


class Book:
    """What was answered, in files."""

    def __init__(self, folder: Path) -> None:
        self._acks = _append(folder / "acks.txt")
        self._refusals = _append(folder / "refused.txt")
        self.answered = 0
        self.refused = 0

    def acknowledged(self, answers: Iterable[tuple[Wish, task_pb2.Task, str]]) -> None:
        """One write for a burst of answers."""
        now_ms = wall_ms()
        lines = [_line(wish, task, via, now_ms) for wish, task, via in answers]
        self.answered += len(lines)
        os.write(self._acks, "".join(lines).encode())

    def refuse(self, wish: Wish, why: str) -> None:
        """Somebody will not get a task."""
        self.refused += 1
        words = " ".join(why.split())[:300]
        os.write(self._refusals, f"{wish.asked_ms} {wish.number} {words}\n".encode())


def _append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def _line(wish: Wish, task: task_pb2.Task, via: str, now_ms: int) -> str:
    task_id = task.name.rpartition("/")[2]
    due = task.due_time
    due_ms = due.seconds * 1_000 + due.nanos // 1_000_000
    once = int(wish.number % ONCE_EVERY == 0)
    return (
        f"{task_id} {wish.number} {due_ms} {once} {via} {wish.asked_ms} {now_ms} {wish.resends}\n"
    )


class Wishes:
    """Makes requests cheaply: a copy of one of a few, with its own number and id."""

    def __init__(self, parent: str) -> None:
        self._random = random.Random(os.urandom(16))
        self._kinds = [_kind(parent, number) for number in range(KINDS)]

    def make(self, number: int) -> Wish:
        """The wish of this number."""
        now_ms = wall_ms()
        request = task_service_pb2.CreateTaskRequest()
        request.CopyFrom(self._kinds[number % KINDS])
        request.request_id = new_request_id(now_ms, self._random)
        request.task.payload.data = b'{"number":%d}' % number
        return Wish(request, number, now_ms)


def _kind(parent: str, number: int) -> task_service_pb2.CreateTaskRequest:
    options = tasks.work.options(
        delay=f"{DELAYS_MS[number // ONCE_EVERY % len(DELAYS_MS)]}ms",
        priority=number % 10,
        retry=RETRY,
        at_most_once=number % ONCE_EVERY == 0,
    )
    task = _requests.task_of(options.prepare(number))
    assert task.payload.data == b'{"number":%d}' % number
    return task_service_pb2.CreateTaskRequest(parent=parent, task=task)


class Stream:
    """Creations over one stream at a time, to its own coordinator while that one serves."""

    def __init__(self, channels: Sequence[tuple[str, grpc.aio.Channel]], book: Book) -> None:
        self._stubs = [
            (name, task_service_pb2_grpc.TaskServiceStub(channel)) for name, channel in channels
        ]
        self._book = book
        self._random = random.Random(os.urandom(16))
        self._new: list[Wish] = []
        self._later: list[tuple[int, Wish]] = []
        self._chunks: dict[int, dict[int, Wish]] = {}
        self._number = 0
        self._choice = 0
        self._ending = False
        self._finished = False
        self.broken = 0
        self.repeated = 0

    def add(self, wish: Wish) -> None:
        """Send it with the next chunk."""
        self._new.append(wish)

    def reopen(self) -> None:
        """End this stream politely; the next one goes to the own coordinator again."""
        self._ending = True

    def finish(self) -> None:
        """`run` ends when all is answered."""
        self._finished = self._ending = True

    @property
    def unanswered(self) -> int:
        """Wishes without an answer."""
        return len(self._new) + len(self._later) + sum(map(len, self._chunks.values()))

    async def run(self) -> None:
        """One stream after another."""
        while not (self._finished and not self.unanswered):
            self._ending = self._finished
            if await self._one_stream():
                self._choice = 0
            else:
                self.broken += 1
                self._choice = (self._choice + 1) % len(self._stubs)
            unheard = [wish for chunk in self._chunks.values() for wish in chunk.values()]
            self._new[:0] = [wish.repeated() for wish in unheard]
            self._chunks.clear()
            await moment(REOPEN_S)

    async def _one_stream(self) -> bool:
        via, stub = self._stubs[self._choice]
        call = stub.CreateTasks()
        sending = asyncio.create_task(self._send(call))
        try:
            async for answer in call:
                self._take(answer, via)
        except grpc.RpcError:
            return False
        finally:
            sending.cancel()
            await asyncio.wait((sending,))
            call.cancel()
        return True

    async def _send(self, call: Any) -> None:
        """The more is unanswered, the longer it gathers: a slow shard does not stop the others."""
        try:
            while not (self._ending and not self._new):
                self._take_up_again()
                room = len(self._chunks) < CHUNKS_UNANSWERED
                if self._new and room:
                    await self._write(call)
                gathering = min(LONGEST_GATHERING_TICKS, 1 << len(self._chunks))
                await moment(TICK_S if self._ending else TICK_S * gathering)
            await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            call.cancel()

    def _take_up_again(self) -> None:
        """Wishes whose pause is over."""
        now_ms = wall_ms()
        self._new += [wish for at_ms, wish in self._later if at_ms <= now_ms]
        self._later = [each for each in self._later if each[0] > now_ms]

    async def _write(self, call: Any) -> None:
        wishes, self._new = self._new[:CHUNK_REQUESTS], self._new[CHUNK_REQUESTS:]
        self._number += 1
        self._chunks[self._number] = dict(enumerate(wishes))
        requests = [wish.request for wish in wishes]
        chunk = task_service_pb2.CreateTasksRequest(requests=requests, number=self._number)
        await call.write(chunk)

    def _take(self, answer: task_service_pb2.CreateTasksResponse, via: str) -> None:
        """A piece of a chunk, or all of the oldest one where nobody knows of numbers."""
        number = answer.number or min(self._chunks)
        positions = answer.positions or range(len(answer.results))
        chunk = self._chunks[number]
        made = []
        for position, result in zip(positions, answer.results, strict=True):
            wish = chunk.pop(position)
            if result.HasField("task"):
                made.append((wish, result.task, via))
            else:
                self._not_made(wish, result.error)
        if not chunk:
            del self._chunks[number]
        self._book.acknowledged(made)

    def _not_made(self, wish: Wish, error: task_service_pb2.ItemError) -> None:
        if error.code in REPEATED and wall_ms() - wish.asked_ms < PATIENCE_MS:
            self.repeated += 1
            longest_ms = min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS << wish.resends)
            pause_ms = round(self._random.uniform(longest_ms / 2, longest_ms))
            self._later.append((wall_ms() + pause_ms, wish.repeated()))
        else:
            self._book.refuse(wish, f"{error.code} {error.reason} {error.message}")


class Pour:
    """The whole load."""

    def __init__(self, addresses: Sequence[str], rate: float, folder: Path) -> None:
        self.book = Book(folder)
        self._says = _append(folder / "pour.jsonl")
        self._rate = rate
        parent = resolve(address=addresses[0]).parent
        self._wishes = Wishes(parent)
        channels = [(each, grpc.aio.insecure_channel(each, CHANNEL_OPTIONS)) for each in addresses]
        self._channels = channels
        turns = [channels[at:] + channels[:at] for at in range(len(channels))]
        self.streams = [Stream(turn, self.book) for turn in turns]
        self._client = timeball.AsyncClient(",".join(addresses), deadline=f"{PATIENCE_MS}ms")
        self._calls: set[asyncio.Task[None]] = set()
        self._number = 0
        self.going = True
        self.paused = False

    async def run(self) -> None:
        """Ask until `stop`, then wait for the answers."""
        running = [asyncio.create_task(stream.run()) for stream in self.streams]
        turns = cycle(self.streams)
        await self._ask(lambda: next(turns))
        await asyncio.gather(*self._calls)
        for stream in self.streams:
            stream.finish()
        await asyncio.gather(*running)
        await self._client.close()
        for _, channel in self._channels:
            await channel.close()
        self.say(ended=True)

    async def _ask(self, turn: Callable[[], Stream]) -> None:
        loop = asyncio.get_running_loop()
        owed, before_s, ticks = 0.0, loop.time(), 0
        while self.going:
            now_s = loop.time()
            owed, before_s = owed + (now_s - before_s) * self._rate, now_s
            owed = 0.0 if self.paused else owed
            # A tick's tasks share a stream, so that chunks are few.
            stream = turn()
            while owed >= 1:
                self._begin(stream)
                owed -= 1
            ticks += 1
            if ticks % SAY_EVERY_TICKS == 0:
                self.say()
            await moment(TICK_S)

    def _begin(self, stream: Stream) -> None:
        wish = self._wishes.make(self._number)
        self._number += 1
        if wish.number % UNARY_EVERY:
            stream.add(wish)
            return
        call = asyncio.create_task(self._unary(wish))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _unary(self, wish: Wish) -> None:
        try:
            made = await self._client.create(wish.request.task)
        except errors.TimeballError as error:
            self.book.refuse(wish, repr(error))
            return
        self.book.acknowledged([(wish, made, "unary")])

    def say(self, *, ended: bool = False) -> None:
        """How it stands."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        facts = {
            "at_ms": wall_ms(),
            "asked": self._number,
            "answered": self.book.answered,
            "refused": self.book.refused,
            "unanswered": len(self._calls) + sum(each.unanswered for each in self.streams),
            "streams_broken": sum(each.broken for each in self.streams),
            "items_repeated": sum(each.repeated for each in self.streams),
            "cpu_s": round(used.ru_utime + used.ru_stime, 3),
            "paused": self.paused,
            "ended": ended,
        }
        os.write(self._says, (json.dumps(facts) + "\n").encode())


async def _obey(pour: Pour) -> None:
    """Do as told; the end of the input stops it."""
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().strip():
        if line == "stop":
            break
        if line == "reopen":
            for stream in pour.streams:
                stream.reopen()
        else:
            pour.paused = line == "pause"
        pour.say()
    pour.going = False


async def _main(parsed: argparse.Namespace) -> None:
    pour = Pour(parsed.addresses.split(","), parsed.rate, parsed.folder)
    obeying: Coroutine[Any, Any, None] = _obey(pour)
    task = asyncio.create_task(obeying)
    await pour.run()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--addresses", required=True, help="host:port of each coordinator")
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--folder", type=Path, required=True)
    with asyncio.Runner(loop_factory=loop_factory(LoopChoice.AUTO)) as runner:
        runner.run(_main(parser.parse_args()))

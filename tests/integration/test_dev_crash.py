"""Power cuts, pauses and polite stops of whole processes: what was acknowledged happens.

The witnesses are the executors' own files and what the client was told, not the service's tables.
"""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
import timeball
from timeball import errors
from timeball.states import TaskState, state_of
from timeball.v1 import task_pb2

from tests.support import dev_tasks
from tests.support.dev_server import DevServer, ExecutorServer, dev_server, early, ending, repeated
from tests.support.polls import eventually, moment
from tests.support.start_logs import Start

pytestmark = pytest.mark.asyncio
PATIENCE = "30s"
QUICK = timeball.RetryPolicy(max_attempts=10, initial_delay="50ms", max_delay="200ms")
ONCE = timeball.RetryPolicy(max_attempts=1)
EVERY_S = 0.01
CALLS_AT_ONCE = 50
ALIVE = (60, 10, 130)
"""So many are acknowledged before each power cut."""
DELAYS_MS = (0, 40, 300, 700, 1_500)
OUTLASTS_CUTS = "2m"
QUICK_S = 4.5
"""Less than the five seconds for which a call may hold up the end."""
PAUSE_S = 5.0
OUTCOMES = task_pb2.AttemptOutcome


def wall_ms() -> int:
    return round(datetime.now(UTC).timestamp() * 1000)


async def state(client: timeball.AsyncClient, task: str, wanted: TaskState) -> task_pb2.Task:
    async def look() -> task_pb2.Task | None:
        found = await client.get(task)
        return found if state_of(found.state) is wanted else None

    return await eventually(look, f"{task} is {wanted}")


def by_task(starts: Sequence[Start]) -> dict[str, list[Start]]:
    found: dict[str, list[Start]] = defaultdict(list)
    for start in starts:
        found[start.task_id].append(start)
    return found


class Creator:
    """Creates tasks at a steady rate and remembers those that the service acknowledged.

    Calls in hand are bounded: a server that takes long to come back is not met by a crowd.
    """

    def __init__(self, client: timeball.AsyncClient) -> None:
        self._client = client
        self._calls: set[asyncio.Task[None]] = set()
        self._going = True
        self._places = asyncio.Semaphore(CALLS_AT_ONCE)
        self.acknowledged: list[str] = []
        self.refused: list[errors.TimeballError] = []

    async def run(self) -> None:
        number = 0
        while self._going:
            await self._places.acquire()
            call = asyncio.create_task(self._create(number))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            number += 1
            await moment(EVERY_S)
        await asyncio.gather(*self._calls)

    def stop(self) -> None:
        self._going = False

    async def more(self, count: int = 1) -> None:
        """Return when the service has acknowledged so many more."""
        wanted = len(self.acknowledged) + count

        async def look() -> bool:
            return len(self.acknowledged) >= wanted

        await eventually(look, f"{count} more acknowledged")

    async def _create(self, number: int) -> None:
        task = dev_tasks.echo.options(
            delay=f"{DELAYS_MS[number % len(DELAYS_MS)]}ms", retry=QUICK
        ).prepare(f"{number}")
        try:
            self.acknowledged.append((await self._client.submit(task)).id)
        except errors.TimeballError as error:
            self.refused.append(error)
        finally:
            self._places.release()


@pytest.mark.timeout(180)
async def test_power_cuts_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with dev_server(tmp_path) as dev:
        async with timeball.AsyncClient(dev.address, deadline=OUTLASTS_CUTS) as client:
            creator = Creator(client)
            creating = asyncio.create_task(creator.run())
            cuts_ms: list[int] = []
            for count in ALIVE:
                await creator.more(count)
                await asyncio.to_thread(dev.kill)
                cuts_ms.append(wall_ms())
                await asyncio.to_thread(dev.start)
            await creator.more()
            creator.stop()
            await creating
            assert creator.refused == []
            ended = await asyncio.gather(
                *(client.wait(task, timeout=OUTLASTS_CUTS) for task in creator.acknowledged)
            )

        assert {state_of(task.state) for task in ended} == {TaskState.SUCCEEDED}
        starts = by_task(dev.starts())
        assert set(creator.acknowledged) <= set(starts)
        assert early(dev.starts()) == []
        assert repeated(dev.starts()) == []
        for again in (each for each in starts.values() if len(each) > 1):
            for former, later in pairwise(again):
                assert former.attempt < later.attempt
                assert any(former.started_ms <= cut <= later.started_ms for cut in cuts_ms)


async def test_a_pause_beyond_the_session_loses_and_repeats_nothing(tmp_path: Path) -> None:
    with dev_server(tmp_path) as dev:
        async with timeball.AsyncClient(dev.address, deadline=PATIENCE) as client:
            timeball.use(client)
            delays_ms = [60 * number for number in range(80)]
            wishes = [
                dev_tasks.echo.options(delay=f"{delay}ms", retry=QUICK).prepare("x")
                for delay in delays_ms
            ]
            made = await client.batch_submit(wishes)
            handles = [handle for handle in made if isinstance(handle, timeball.Handle)]
            assert len(handles) == len(wishes)
            dev.send(signal.SIGSTOP)
            await moment(PAUSE_S)
            during = asyncio.create_task(dev_tasks.echo.submit("created in the pause"))
            await moment()
            dev.send(signal.SIGCONT)
            for handle in [*handles, await during]:
                await handle.result(timeout=PATIENCE)
        assert len(by_task(dev.starts())) == len(handles) + 1
        assert len(dev.starts()) == len(handles) + 1
        assert early(dev.starts()) == []


async def test_sigterm_lets_short_work_end_and_hands_long_work_back(tmp_path: Path) -> None:
    with dev_server(tmp_path) as dev:
        async with timeball.AsyncClient(dev.address, deadline=PATIENCE) as client:
            timeball.use(client)
            long = await dev_tasks.hold.options(retry=ONCE).submit("long")
            short = await dev_tasks.hold.options(retry=ONCE).submit("short")
            later = await dev_tasks.echo.options(delay="3s").submit("later")
            for handle in (long, short):
                await state(client, handle.id, TaskState.RUNNING)
            dev.send(signal.SIGTERM)
            (tmp_path / "short").touch()
            assert await asyncio.to_thread(dev.wait) == 0
            assert "Traceback" not in dev.output()

            await asyncio.to_thread(dev.start)
            assert await short.result(timeout=PATIENCE) == "short opened in attempt 1"
            (tmp_path / "long").touch()
            assert (await long.result(timeout=PATIENCE)).startswith("long opened")
            assert await later.result(timeout=PATIENCE) == "later"
            first, second = by_task(dev.starts())[long.id]
            assert second.priority == first.priority
            assert early(dev.starts()) == []
            assert [len(by_task(dev.starts())[each.id]) for each in (short, later)] == [1, 1]


async def test_sigterm_with_nothing_to_do_is_quick(tmp_path: Path) -> None:
    with dev_server(tmp_path) as dev:
        async with timeball.AsyncClient(dev.address) as client:
            timeball.use(client)
            await (await dev_tasks.echo.submit("warm")).result(timeout=PATIENCE)
            waiting = asyncio.create_task(
                (await dev_tasks.echo.options(delay="1h").submit("far")).result(timeout="20s")
            )
            await moment()
            dev.send(signal.SIGTERM)
            assert await asyncio.to_thread(dev.wait, QUICK_S) == 0
            waiting.cancel()
            await asyncio.wait((waiting,))
    assert "Traceback" not in dev.output()


async def test_an_executor_outlives_the_server_and_its_work_goes_by_the_rules(
    tmp_path: Path,
) -> None:
    dev, executor = DevServer(tmp_path, apps=()), ExecutorServer(tmp_path, "x1")
    with ending(dev, executor):
        dev.start()
        async with timeball.AsyncClient(dev.address, deadline=PATIENCE) as client:
            timeball.use(client)
            await executor.start(client, dev.address)
            again = await dev_tasks.hold.options(retry=QUICK).submit("again")
            lost = await dev_tasks.hold.options(at_most_once=True).submit("lost")
            later = await dev_tasks.echo.options(delay="2s").submit("later")
            for handle in (again, lost):
                await state(client, handle.id, TaskState.RUNNING)
            dev.kill()
            await asyncio.to_thread(dev.start)
            await executor.joined(client)
            with pytest.raises(timeball.TaskFailed) as caught:
                await lost.result(timeout=PATIENCE)
            assert caught.value.metadata["cause"] == "LOST"
            (tmp_path / "again").touch()
            assert (await again.result(timeout=PATIENCE)).startswith("again opened")
            assert await later.result(timeout=PATIENCE) == "later"
        starts = by_task(executor.starts())
        assert {task: [start.attempt for start in each] for task, each in starts.items()} == {
            again.id: [1, 2],
            lost.id: [1],
            later.id: [1],
        }
        assert executor.code is None
        assert executor.terminate() == 0


async def test_work_of_a_killed_executor_is_repeated_or_lost_as_its_mode_says(
    tmp_path: Path,
) -> None:
    dev = DevServer(tmp_path, apps=())
    first, second = ExecutorServer(tmp_path, "x1"), ExecutorServer(tmp_path, "x2")
    with ending(dev, first, second):
        dev.start()
        async with timeball.AsyncClient(dev.address, deadline=PATIENCE) as client:
            timeball.use(client)
            await first.start(client, dev.address)
            again = await dev_tasks.hold.options(retry=QUICK).submit("again")
            once = await dev_tasks.hold.options(at_most_once=True).submit("once")
            for handle in (again, once):
                await state(client, handle.id, TaskState.RUNNING)
            first.kill()
            with pytest.raises(timeball.TaskFailed) as caught:
                await once.result(timeout=PATIENCE)
            assert caught.value.metadata["cause"] == "LOST"
            retrying = await state(client, again.id, TaskState.RETRYING)
            assert [each for each in retrying.unaccounted if "x1" in each]

            await second.start(client, dev.address)
            (tmp_path / "again").touch()
            assert await again.result(timeout=PATIENCE) == "again opened in attempt 2"
            ended = await client.get(again.id)
            assert [each.outcome for each in ended.attempts] == [
                OUTCOMES.ATTEMPT_OUTCOME_LOST,
                OUTCOMES.ATTEMPT_OUTCOME_SUCCEEDED,
            ]
            assert [each.executor for each in ended.attempts] == ["x1", "x2"]
        starts = by_task([*first.starts(), *second.starts()])
        assert [start.attempt for start in starts[again.id]] == [1, 2]
        assert [start.attempt for start in starts[once.id]] == [1]

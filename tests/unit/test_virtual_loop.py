"""The virtual loop itself: fast, deterministic, and it never hangs silently."""

import asyncio
import hashlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.virtual_loop import (
    Deadlock,
    OutOfTime,
    VirtualClock,
    VirtualLoop,
    run_virtual,
)

ROOT = Path(__file__).resolve().parents[2]
HISTORY_PROGRAM = "import tests.unit.test_virtual_loop as t; print(t.history(5))"


async def walkers(loop: VirtualLoop) -> str:
    """Ten tasks that sleep at random and write down when they woke."""
    woken: list[tuple[int, str]] = []
    names = {f"walker-{number}" for number in range(10)}

    async def walk(name: str) -> None:
        clock = VirtualClock(loop)
        for _ in range(100):
            await clock.sleep_ms(loop.random.random() * 1_000)
            woken.append((loop.now_us, name))

    await asyncio.gather(*(walk(name) for name in sorted(names)))
    return hashlib.sha256(repr(woken).encode()).hexdigest()


def history(seed: int) -> str:
    return run_virtual(walkers, seed)


def test_one_seed_is_one_history_and_two_are_two() -> None:
    assert history(5) == history(5)
    assert history(5) != history(6)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_history_does_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    environment = {
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    run = subprocess.run(
        [sys.executable, "-c", HISTORY_PROGRAM],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert run.stdout.strip() == history(5)


def test_sleeping_is_exact_and_costs_no_time() -> None:
    async def main(loop: VirtualLoop) -> list[int]:
        clock, seen = VirtualClock(loop), []
        for duration_ms in (0.25, 1, 86_400_000):
            await clock.sleep_ms(duration_ms)
            seen.append(loop.now_us)
        return seen

    assert run_virtual(main, limit_s=10**6) == [250, 1_250, 86_400_001_250]


def test_clocks_of_two_nodes_differ_as_told_and_a_step_moves_the_wall_only() -> None:
    async def main(loop: VirtualLoop) -> None:
        right, wrong = VirtualClock(loop), VirtualClock(loop, wall_offset_ms=70, mono_offset_ms=9)
        await right.sleep_ms(5)
        assert wrong.now().wall_ms - right.now().wall_ms == 70
        assert wrong.now().mono_ms - right.now().mono_ms == 9
        wrong.skew_ms = -1_000
        assert wrong.now().wall_ms - right.now().wall_ms == -1_000
        assert wrong.now().mono_ms - right.now().mono_ms == 9

    run_virtual(main)


def test_a_deadlock_names_who_waits() -> None:
    async def main(loop: VirtualLoop) -> None:
        async def stuck() -> None:
            await loop.create_future()

        await loop.create_task(stuck(), name="the stuck one")

    with pytest.raises(Deadlock, match="the stuck one"):
        run_virtual(main)


def test_a_run_that_only_keeps_itself_busy_is_ended() -> None:
    async def main(loop: VirtualLoop) -> None:
        while True:
            await VirtualClock(loop).sleep_ms(100)

    with pytest.raises(OutOfTime):
        run_virtual(main, limit_s=60)


def test_a_crash_that_nobody_looks_at_fails_the_run() -> None:
    async def main(loop: VirtualLoop) -> None:
        async def crash() -> None:
            raise LookupError("unseen")

        loop.create_task(crash())
        await VirtualClock(loop).sleep_ms(10)

    with pytest.raises(AssertionError, match="unseen"):
        run_virtual(main)


def test_a_callback_that_fails_fails_the_run_and_a_cancelled_one_is_never_called() -> None:
    called: list[object] = []

    async def main(loop: VirtualLoop) -> None:
        soon, later = loop.call_soon(called.append, 1), loop.call_later(0.001, called.append, 2)
        soon.cancel()
        later.cancel()
        assert soon.cancelled()
        assert later.when() == 0.001
        loop.call_at(0.002, called.append, 3)
        loop.call_at(0.002, called.append, 4)
        loop.call_soon(called.remove, 5)
        await VirtualClock(loop).sleep_ms(10)

    with pytest.raises(AssertionError, match=r"list.remove.*ValueError"):
        run_virtual(main)
    assert called == [3, 4]


async def ticker(loop: VirtualLoop, ticks: list[int], ended: list[str]) -> None:
    try:
        while True:
            await VirtualClock(loop).sleep_ms(10)
            ticks.append(loop.now_us // 1_000)
    finally:
        ended.append("finally")


def test_a_frozen_process_stands_still_and_goes_on_when_thawed() -> None:
    async def main(loop: VirtualLoop) -> list[int]:
        ticks: list[int] = []
        loop.start_in("node-a", ticker(loop, ticks, []))
        clock = VirtualClock(loop)
        await clock.sleep_ms(35)
        loop.freeze("node-a")
        assert loop.is_held("node-a")
        await clock.sleep_ms(1_000)
        loop.thaw("node-a")
        await clock.sleep_ms(15)
        return ticks

    assert run_virtual(main) == [10, 20, 30, 1_035, 1_045]


def test_a_frozen_process_misses_what_others_do_for_it() -> None:
    async def main(loop: VirtualLoop) -> None:
        box, seen = asyncio.Event(), []

        async def wait() -> None:
            await box.wait()
            seen.append(loop.now_us)

        loop.start_in("node-a", wait())
        clock = VirtualClock(loop)
        await clock.sleep_ms(1)
        loop.freeze("node-a")
        box.set()
        await clock.sleep_ms(1)
        assert seen == []
        loop.thaw("node-a")
        await clock.sleep_ms(1)
        assert seen == [2_000]

    run_virtual(main)


def test_a_killed_process_never_runs_again_not_even_its_finally() -> None:
    async def main(loop: VirtualLoop) -> tuple[list[int], list[str]]:
        ticks: list[int] = []
        ended: list[str] = []
        loop.start_in("node-a", ticker(loop, ticks, ended))
        clock = VirtualClock(loop)
        await clock.sleep_ms(15)
        loop.kill("node-a")
        loop.thaw("node-a")
        await clock.sleep_ms(1_000)
        return ticks, list(ended)

    assert run_virtual(main) == ([10], [])


def test_tasks_of_a_history_without_an_end_are_dropped_before_their_first_step() -> None:
    async def never_begun() -> None:
        raise AssertionError("this ran")

    loop = VirtualLoop()
    main = never_begun()
    task = loop.create_task(main)
    loop.drop_unstarted()
    assert inspect.getcoroutinestate(main) == inspect.CORO_CLOSED
    assert not task.done()
    loop.close()

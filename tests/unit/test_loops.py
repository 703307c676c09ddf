"""Which event loop a process runs on."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from timeball_server.runtime.loops import LoopChoice, loop_factory

# Stands for an installation without it.
WITHOUT = "import sys; sys.modules['uvloop'] = None"
CHOOSE = "from timeball_server.runtime.loops import LoopChoice, loop_factory"


async def room() -> str:
    """Where the running loop comes from."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (LoopChoice.AUTO, "uvloop"),
        (LoopChoice.UVLOOP, "uvloop"),
        (LoopChoice.ASYNCIO, "asyncio"),
    ],
)
def test_what_is_chosen_runs(choice: LoopChoice, wanted: str) -> None:
    with asyncio.Runner(loop_factory=loop_factory(choice)) as runner:
        assert runner.run(room()) == wanted


def without_uvloop(program: str) -> subprocess.CompletedProcess[str]:
    """A program where uvloop is not installed."""
    lines = [sys.executable, "-c", f"{WITHOUT}; {CHOOSE}; {program}"]
    return subprocess.run(lines, capture_output=True, text=True, check=False)


def test_auto_does_without() -> None:
    answer = without_uvloop("print(loop_factory(LoopChoice.AUTO))")
    assert answer.stdout.strip() == "None"


def test_what_is_asked_for_by_name_and_not_there_is_said() -> None:
    answer = without_uvloop("loop_factory(LoopChoice.UVLOOP)")
    assert "uvloop is not installed; install timeball-server[cluster]" in answer.stderr


PLACES = {
    "store.kind": "cassandra",
    "store.addresses": "127.0.0.1:1",
    "coordination.kind": "zookeeper",
    "coordination.addresses": "127.0.0.1:1",
}
SETTINGS = [word for path, value in PLACES.items() for word in ("--set", f"{path}={value}")]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("scheduler_node", SETTINGS),
        ("coordinator", SETTINGS),
        ("executor_node", ["--app", "examples/demo_tasks.py"]),
    ],
)
def test_a_service_says_so_in_one_line_and_connects_nowhere(module: str, words: list[str]) -> None:
    arguments = [module, "--loop", "uvloop", *words]
    run = f"import runpy; sys.argv = {arguments!r}; runpy.run_module({module!r}, {{}}, '__main__')"
    answer = without_uvloop(run)
    assert answer.returncode == (1 if module == "executor_node" else 2)
    assert "uvloop is not installed" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1

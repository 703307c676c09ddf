"""What `timeball` offers, and what it does not load before it is needed."""

from __future__ import annotations

import subprocess
import sys

import timeball
from timeball._version import __version__

SURFACE = """
AsyncClient BlockingCause Cancelled Change Client Context Cron Explanation Fail Handle Interval
Retry RetryPolicy ScheduleHandle Snooze Submission SyncHandle SyncScheduleHandle Task TaskFailed
TaskState Timing TimeballError TooLate WaitTimeout __version__ after_completion connect connect_sync
cron current
dates every span submission task union use
"""


def modules_after(code: str, *, arguments: tuple[str, ...] = ()) -> set[str]:
    """The modules that a fresh interpreter holds at its end."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))\n" + code
    )
    outcome = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return set(outcome.stderr.split())


def test_the_surface_is_this_and_every_name_loads() -> None:
    assert sorted(SURFACE.split()) == timeball.__all__
    for name in timeball.__all__:
        assert getattr(timeball, name) is not None
        assert name in dir(timeball)
    assert not hasattr(timeball, "nothing_of_the_kind")


def test_importing_the_package_loads_nothing_else() -> None:
    loaded = modules_after("import timeball")
    assert not loaded & {"grpc", "google.protobuf", "msgspec", "asyncio", "click", "rich"}


def test_declaring_a_task_needs_no_channel() -> None:
    declared = "import timeball\n@timeball.task('a')\ndef a(n: int) -> int: return n"
    assert not modules_after(declared) & {"grpc", "google.protobuf", "click", "rich"}


def test_loading_the_module_of_tasks_first_does_not_hide_the_decorator() -> None:
    modules_after("import timeball.tasks, timeball\nassert callable(timeball.task)")


def test_the_version_is_told_without_loading_what_talks() -> None:
    code = "from timeball.cli.main import main; main()"
    loaded = modules_after(code, arguments=("--version",))
    assert not loaded & {"grpc", "google.protobuf", "msgspec", "rich", "timeball.cli.task"}
    said = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"timeball {__version__}\n"

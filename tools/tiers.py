"""Which tests there are: tiers, the processes each of them is made of, and what they need.

Owns the list and the caps. Never runs anything: tools/run_tests.py does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools import environments, jars, other_clients, prerequisites, wheels

ROOT = Path(__file__).resolve().parent.parent
PYTHON = str(ROOT / ".venv" / "bin" / "python")
PYTEST = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider")
HOUSE = ("tests/unit/test_house_rules.py", "tests/unit/test_import_rules.py")
# Where the suites of both ports, and everything else that stands on real servers, find them.
SERVERS = ("-p", "tests.support.servers.fixtures")


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One process of a tier. A pytest step reports its own count; any other is one test."""

    name: str
    command: tuple[str, ...]
    is_pytest: bool = True
    environment: tuple[tuple[str, str], ...] = ()


def nothing() -> None:
    """Most tiers need no more than the environment that `make test` made."""


def no_gap() -> str:
    """Most tiers run on every machine that has the required prerequisites."""
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """A named group of steps and the seconds it may take, here and with the long settings.

    `prepare` runs before the clock starts; it may use the network the first time, never again.
    `gap` says in a sentence what this machine lacks for it and how to get that, or nothing: a tier
    with a gap is reported as not run, and with the long settings as failed.
    """

    name: str
    cap_seconds: int
    long_cap_seconds: int
    steps: Callable[[], list[Step]]
    prepare: Callable[[], None] = nothing
    gap: Callable[[], str] = no_gap


def check_steps() -> list[Step]:
    """What a commit needs: format, lint, types, house rules, stubs."""
    commands = {
        "format": (PYTHON, "-m", "ruff", "format", "--check", "."),
        "lint": (PYTHON, "-m", "ruff", "check", "."),
        "types": (PYTHON, "-m", "mypy"),
        "protos": (PYTHON, "tools/protos.py", "verify"),
    }
    steps = [Step(name=name, command=line, is_pytest=False) for name, line in commands.items()]
    return [*steps, Step(name="house", command=(*PYTEST, *HOUSE))]


def pytest_steps(folder: str, *extra: str) -> Callable[[], list[Step]]:
    """A tier that is one pytest run over one folder."""
    return lambda: [Step(name=Path(folder).name, command=(*PYTEST, folder, *extra))]


def prepare_sdk() -> None:
    """Makes one environment per interpreter found, with the SDK's dependencies alone."""
    for version, path in prerequisites.sdk_interpreters():
        environments.build(f"sdk-{version}", environments.sdk_environment(version), path)


def sdk_steps() -> list[Step]:
    """The SDK's own tests under every interpreter found."""
    steps = []
    for version, _ in prerequisites.sdk_interpreters():
        folder = ROOT / environments.sdk_environment(version).folder
        # The pytest script, not `-m pytest`: the checkout itself must stay off the path.
        pytest = str(folder / "bin" / "pytest")
        command = (pytest, "-q", "-p", "no:cacheprovider", "tests/unit/sdk")
        on_path = (("PYTHONPATH", str(ROOT / "clients" / "python")),)
        steps.append(Step(name=f"python-{version}", command=command, environment=on_path))
    return steps


def prepare_packaging() -> None:
    """Fetches the locked dependencies' wheels, so that the tests need no network."""
    wheels.fill_house()


def prepare_servers() -> None:
    """Fetches the jars of Cassandra and ZooKeeper, once."""
    for name in jars.NAMES:
        jars.fetch(name)


def long_gap() -> str:
    """Faults on real servers take minutes: with the long settings, or by hand."""
    if os.environ.get("CI") != "true":
        return "it runs with CI=true; `make chaos` plays more of it"
    return jars.gap()


def server_steps() -> list[Step]:
    """Everything that stands on real servers, in one process that starts each of them once."""
    folders = (
        "tests/conformance",
        "tests/integration/zookeeper",
        "tests/integration/cassandra",
        "tests/servers",
    )
    # A test that is the first to need a server waits for its start: minutes, on a busy machine.
    return [Step(name="servers", command=(*PYTEST, *SERVERS, "--timeout=400", *folders))]


# The caps add up to CAP_SECONDS here and to LONG_CAP_SECONDS with the long settings. They end what
# hangs: on two idle cores a tier takes between half and three quarters of its own.
CAP_SECONDS = 31 * 60
LONG_CAP_SECONDS = 50 * 60
TIERS = (
    Tier(name="check", cap_seconds=90, long_cap_seconds=120, steps=check_steps),
    Tier(
        name="unit",
        cap_seconds=240,
        long_cap_seconds=490,
        steps=pytest_steps("tests/unit", *(f"--ignore={path}" for path in HOUSE)),
    ),
    Tier(
        name="conformance",
        cap_seconds=60,
        long_cap_seconds=75,
        steps=pytest_steps("tests/conformance"),
    ),
    Tier(
        name="simulation",
        cap_seconds=190,
        long_cap_seconds=350,
        steps=pytest_steps("tests/simulation"),
    ),
    Tier(
        name="integration",
        cap_seconds=330,
        long_cap_seconds=550,
        steps=pytest_steps("tests/integration"),
    ),
    Tier(
        name="servers",
        cap_seconds=620,
        long_cap_seconds=700,
        steps=server_steps,
        prepare=prepare_servers,
        gap=jars.gap,
    ),
    Tier(
        name="chaos",
        cap_seconds=60,
        long_cap_seconds=340,
        steps=pytest_steps("tests/chaos/test_smoke.py"),
        prepare=prepare_servers,
        gap=long_gap,
    ),
    Tier(
        name="browser",
        cap_seconds=70,
        long_cap_seconds=70,
        steps=pytest_steps("tests/browser"),
        gap=prerequisites.chromium_gap,
    ),
    Tier(
        name="packaging",
        cap_seconds=70,
        long_cap_seconds=95,
        steps=pytest_steps("tests/packaging"),
        prepare=prepare_packaging,
    ),
    Tier(
        name="sdk-interpreters",
        cap_seconds=60,
        long_cap_seconds=100,
        steps=sdk_steps,
        prepare=prepare_sdk,
    ),
    Tier(
        name="other-clients",
        cap_seconds=70,
        long_cap_seconds=110,
        steps=pytest_steps("tests/polyglot"),
        prepare=other_clients.build,
        gap=other_clients.gap,
    ),
)

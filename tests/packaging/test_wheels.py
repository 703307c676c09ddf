"""Both wheels, built and installed into empty environments, ship what they promise and no more.

An empty environment gets a wheel and what that wheel's own metadata asks for, from a folder of
locked wheels and no index: a dependency that is used but not declared is missing here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import timeball

from tests.support.dev_server import DevServer, ending
from tools import wheels

SERVER_NAMES = {"timeball_server", "coordinator", "scheduler_node", "executor_node"}
CLUSTER_ONLY = {"cassandra-driver", "kazoo", "protovalidate", "uvloop", "grpcio-reflection"}
SDK_ALONE = {
    *("timeball", "grpcio", "protobuf", "googleapis-common-protos", "msgspec"),
    "typing-extensions",  # asked for by grpcio
}
LISTING = (
    "from importlib.metadata import distributions;"
    "print(*sorted(d.metadata['Name'].lower().replace('_', '-') for d in distributions()))"
)


def out_of_reach() -> dict[str, str]:
    """This process's environment without what would lead Python back to the checkout."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """An environment that holds one set of wheels and nothing else."""

    folder: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a program of the environment, out of reach of the checkout."""
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.folder,
            env=out_of_reach(),
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a program that goes on until it is told to end."""
        return subprocess.Popen(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.folder,
            env=out_of_reach(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def distributions(self) -> set[str]:
        """The names of everything installed."""
        return set(self.run("python", "-I", "-c", LISTING).stdout.split())


def install(folder: Path, built: list[Path], *requirements: str) -> Installed:
    """A new environment with the requirements, resolved from local wheels alone."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    places = [wheels.fill_house(), built[0].parent]
    outcome = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check"),
            *("--python", str(folder / "bin" / "python"), "install", "--quiet", "--no-index"),
            *(f"--find-links={place}" for place in places),
            *requirements,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return Installed(folder=folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return wheels.build(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory, built: list[Path]) -> Installed:
    return install(tmp_path_factory.mktemp("sdk") / "venv", built, "timeball")


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory, built: list[Path]) -> Installed:
    return install(tmp_path_factory.mktemp("executor") / "venv", built, "timeball-server")


def modules(wheel: Path) -> set[str]:
    """Every file a wheel puts on the import path."""
    names = zipfile.ZipFile(wheel).namelist()
    return {name for name in names if ".dist-info/" not in name}


def test_each_wheel_ships_exactly_its_packages(built: list[Path]) -> None:
    sdk, server = (modules(wheel) for wheel in built)
    assert {name.split("/")[0] for name in sdk} == {"timeball"}
    assert {name.split("/")[0] for name in server} == SERVER_NAMES
    assert sdk & server == set()


def test_each_wheel_is_typed_licensed_and_complete(built: list[Path]) -> None:
    for wheel in built:
        names = zipfile.ZipFile(wheel).namelist()
        assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in names}
        assert [name for name in names if "__pycache__" in name or "/tests/" in name] == []
    sdk, server = (modules(wheel) for wheel in built)
    assert "timeball/py.typed" in sdk
    assert "timeball_server/rpc/rules.binpb" in server
    static = wheels.ROOT / "timeball_server" / "console" / "static"
    assert {str(path.relative_to(wheels.ROOT)) for path in static.iterdir()} <= server
    assert [name for name in sdk if name.endswith("_pb2.pyi")]


def test_the_sdk_alone_brings_its_four_dependencies_and_works(sdk: Installed) -> None:
    assert sdk.distributions() == SDK_ALONE
    outcome = sdk.run("python", "-I", "-W", "error", "-c", "import timeball; timeball.Client")
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_the_sdks_stubs_need_no_rules(sdk: Installed) -> None:
    program = (
        "import importlib, pkgutil, sys, timeball.v1 as v1\n"
        "names = [m.name for m in pkgutil.iter_modules(v1.__path__)]\n"
        "[importlib.import_module('timeball.v1.' + name) for name in names]\n"
        "print(len(names), *[name for name in sys.modules if name.split('.')[0] == 'buf'])"
    )
    outcome = sdk.run("python", "-I", "-W", "error", "-c", program)
    assert outcome.returncode == 0, outcome.stderr
    count, *rules = outcome.stdout.split()
    assert int(count) > 0
    assert rules == []


def test_the_command_says_its_version_without_the_cli_extra(sdk: Installed) -> None:
    outcome = sdk.run("timeball", "--version")
    assert outcome.returncode == 0, outcome.stderr
    assert "0.1" in outcome.stdout


def test_a_slim_executor_brings_nothing_of_the_cluster(executor: Installed) -> None:
    held = executor.distributions()
    assert {"timeball", "timeball-server", "click", "rich"} <= held
    assert held & CLUSTER_ONLY == set()


def test_a_slim_executor_starts_its_command(executor: Installed) -> None:
    outcome = executor.run("timeball", "executor", "--help")
    assert outcome.returncode == 0, outcome.stderr
    assert "--app" in outcome.stdout


SLIM_APP = """
import timeball

@timeball.task("slim.double")
def double(number: int) -> int:
    return 2 * number
"""


def test_a_slim_executor_starts_joins_and_runs_a_task(executor: Installed, tmp_path: Path) -> None:
    app = tmp_path / "slim_app.py"
    app.write_text(SLIM_APP)
    server = DevServer(tmp_path, apps=())
    with ending(server):
        address = server.start()
        joined = executor.start("timeball", "executor", "--app", str(app), "--server", address)
        try:
            with timeball.Client(address) as client:
                result = client.submit("slim.double", {"number": 21}).result(timeout="30s")
        finally:
            joined.terminate()
            code = joined.wait(30)
    assert (result, code) == (42, 0)


def test_commands_of_the_cluster_do_not_break_a_slim_install(executor: Installed) -> None:
    listing = executor.run("timeball", "--help")
    assert listing.returncode == 0, listing.stderr
    assert "executor" in listing.stdout
    refused = executor.run("timeball", "dev")
    assert refused.returncode != 0
    assert "timeball-server[cluster]" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr

"""What keeps servers in hand: no process outlives its owner, no jar goes unchecked."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.polls import until
from tests.support.servers import addresses
from tests.support.servers.addresses import Address
from tests.support.servers.process import ServerError, ServerProcess
from tools import jars

ROOT = Path(__file__).resolve().parents[2]
# Stands for a server: says that it lives, and ends by a signal only.
PATIENT = "import signal; print('alive', flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {PATIENT}"
OWNER = """
import pathlib, sys
from tests.support.servers.process import ServerProcess
server = ServerProcess(
    name="owned", command=[sys.executable, "-c", sys.argv[1]], log=pathlib.Path(sys.argv[2])
)
server.start()
if sys.argv[3] == "frozen":
    server.freeze()
print(server.pid, flush=True)
sys.stdin.read()
"""


def server(folder: Path, code: str, stop_deadline_s: float = 10.0) -> ServerProcess:
    return ServerProcess(
        name="patient",
        command=[sys.executable, "-c", code],
        log=folder / "patient.log",
        stop_deadline_s=stop_deadline_s,
    )


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[ServerProcess]:
    process = server(tmp_path, PATIENT)
    process.start()
    until(lambda: "alive" in process.tail(), "alive")
    yield process
    process.kill()


def test_a_stopped_server_is_gone_and_can_be_started_again(patient: ServerProcess) -> None:
    first = patient.pid
    patient.stop()
    assert not psutil.pid_exists(first)
    patient.start()
    assert patient.is_running
    assert patient.pid != first


def test_a_frozen_server_runs_on_when_thawed_and_dies_when_killed(patient: ServerProcess) -> None:
    patient.freeze()
    assert patient.is_running
    assert patient.is_frozen
    patient.thaw()
    until(lambda: not patient.is_frozen, "thawed")
    patient.freeze()
    patient.kill()
    assert not patient.is_running


def test_stopping_a_frozen_server_is_orderly(patient: ServerProcess) -> None:
    patient.freeze()
    patient.stop()
    assert not patient.is_running


def test_a_server_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    process = server(tmp_path, STUBBORN, stop_deadline_s=0.5)
    process.start()
    until(lambda: "alive" in process.tail(), "alive")
    process.stop()
    assert not process.is_running


def test_a_server_that_ends_by_itself_is_seen_to(tmp_path: Path) -> None:
    process = server(tmp_path, "print('no configuration'); raise SystemExit(3)")
    process.start()
    until(lambda: not process.is_running, "ended")
    assert "no configuration" in str(process.error("ended by itself"))
    process.kill()
    with pytest.raises(ServerError, match="cannot be frozen"):
        process.freeze()


def test_a_program_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    process = ServerProcess(name="absent", command=["/nowhere"], log=tmp_path / "absent.log")
    with pytest.raises(ServerError, match="absent could not be started"):
        process.start()


def test_a_running_server_is_not_started_twice(patient: ServerProcess) -> None:
    with pytest.raises(ServerError, match="running already"):
        patient.start()


@pytest.mark.parametrize("state", ["running", "frozen"])
def test_no_server_outlives_an_owner_that_was_killed(tmp_path: Path, state: str) -> None:
    command = [sys.executable, "-c", OWNER, PATIENT, str(tmp_path / "owned.log"), state]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as owner:
        assert owner.stdout is not None
        owned = psutil.Process(int(owner.stdout.readline()))
        assert owned.is_running()
        owner.send_signal(signal.SIGKILL)
        until(lambda: not owned.is_running(), "the server ended with its owner")


def test_no_server_outlives_its_keeper(patient: ServerProcess) -> None:
    owned = psutil.Process(patient.pid)
    keeper = owned.parent()
    assert keeper is not None
    keeper.kill()
    until(lambda: not owned.is_running(), "the server ended with its keeper")


def test_addresses_are_read_as_they_are_written() -> None:
    read = addresses.parse("127.0.0.1:9042, cassandra.example:9043")
    assert read == (
        Address(host="127.0.0.1", port=9042),
        Address(host="cassandra.example", port=9043),
    )
    assert ",".join(map(str, read)) == "127.0.0.1:9042,cassandra.example:9043"


@pytest.mark.parametrize("text", ["127.0.0.1", ":9042", "host:", "host:x", "host:0", "host:65536"])
def test_what_is_no_address_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no server's address"):
        addresses.parse(text)


def test_free_ports_are_different_and_bindable() -> None:
    chosen = addresses.free_ports(5, addresses.hosts(3))
    assert len(set(chosen)) == 5


def test_every_committed_jar_is_named_once_with_its_hash() -> None:
    text = jars.SUMS.read_text()
    assert "://" not in text
    for name in jars.NAMES:
        assert len(jars.wanted(name)) > 10
    listed = sum(len(jars.wanted(name)) for name in jars.NAMES)
    assert listed == sum(1 for line in text.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_a_jar_that_is_not_the_committed_one_is_refused(tmp_path: Path, damage: str) -> None:
    for jar in jars.wanted("zookeeper"):
        (tmp_path / jar).symlink_to(jars.fetch("zookeeper") / jar)
    jars.check("zookeeper", tmp_path)
    victim = tmp_path / min(jars.wanted("zookeeper"))
    if damage != "added":
        victim.unlink()
    if damage != "missing":
        victim.with_suffix(".changed.jar" if damage == "added" else ".jar").write_bytes(b"other")
    with pytest.raises(jars.JarsError, match="1 jars of zookeeper differ"):
        jars.check("zookeeper", tmp_path)

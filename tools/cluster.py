"""A whole cluster on loopback: `make cluster`, `make cluster-down`.

`up` starts a supervisor in the background and waits until everything serves; `down` ends it and
all that it started; `status` asks the cluster. One ZooKeeper and one Cassandra from jars, two
coordinators, two scheduler nodes, three executors of strength 1, 5 and 10, each a process of its
own; logs and facts lie in .cluster/. For development and tests: one disk, no replication.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / ".cluster"
SHARDS: Final = 16
STRENGTHS: Final = (1, 5, 10)
READY_WITHIN_S: Final = 120.0
STOP_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Places:
    """Files of one cluster."""

    folder: Path

    @property
    def logs(self) -> Path:
        """Where every process writes."""
        return self.folder / "logs"

    @property
    def facts(self) -> Path:
        """Addresses and process ids, written when everything serves."""
        return self.folder / "facts.json"

    @property
    def demo(self) -> Path:
        """Where the demo's handlers put their results."""
        return self.folder / "demo"

    @property
    def supervisor(self) -> Path:
        """Process id of the supervisor."""
        return self.folder / "supervisor.pid"


class Supervisor:
    """Starts everything in order and ends it in reverse."""

    def __init__(self, places: Places, apps: Sequence[str]) -> None:
        self._places = places
        self._apps = apps
        self._smtp_port = _free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses: dict[str, str] = {}

    def run(self) -> None:
        """Start, write the facts, wait for SIGTERM."""
        from tests.support.servers.__main__ import running

        with contextlib.ExitStack() as stack:
            zookeeper = stack.enter_context(running("zookeeper", 1, self._places.folder / "zk"))
            print(f"zookeeper serves at {zookeeper.endpoints}", flush=True)
            cassandra = stack.enter_context(running("cassandra", 1, self._places.folder / "cs"))
            print(f"cassandra serves at {cassandra.endpoints}", flush=True)
            stack.callback(self._end_processes)
            self._apply_schema(cassandra.endpoints)
            self._start_processes(zookeeper.endpoints, cassandra.endpoints)
            self._write_facts(zookeeper.endpoints, cassandra.endpoints)
            signal.pause()

    def _apply_schema(self, cassandra: str) -> None:
        command = [sys.executable, "-m", "timeball.cli", "schema", "apply"]
        place = ["--cassandra", cassandra, "--shards", str(SHARDS)]
        place += ["--replicas", "datacenter1=1"]
        subprocess.run([*command, *place], check=True, cwd=ROOT)

    def _start_processes(self, zookeeper: str, cassandra: str) -> None:
        shared = [
            *("--set", "store.kind=cassandra", "--set", f"store.addresses={cassandra}"),
            *("--set", "coordination.kind=zookeeper"),
            *("--set", f"coordination.addresses={zookeeper}"),
        ]
        for number in (1, 2):
            self._start_service("scheduler_node", f"scheduler-{number}", shared)
        for number in (1, 2):
            self._start_service("coordinator", f"coordinator-{number}", shared)
        for number, strength in enumerate(STRENGTHS, start=1):
            self._start_executor(f"executor-{number}", strength, zookeeper)
        for name in list(self._processes):
            self._await_address(name)

    def _start_service(self, module: str, name: str, shared: Sequence[str]) -> None:
        ready = ["--ready-file", str(self._ready(name)), "--set", f"node.name={name}"]
        self._start(name, [sys.executable, "-m", module, *shared, *ready])

    def _start_executor(self, name: str, strength: int, zookeeper: str) -> None:
        log = self._places.folder / f"{name}.starts.jsonl"
        options = ["--zookeeper", zookeeper, "--name", name, "--strength", str(strength)]
        files = ["--start-log", str(log), "--app", ",".join(self._apps)]
        self._start(name, [sys.executable, "-m", "executor_node", *options, *files])
        self._ready(name).write_text("started\n")

    def _start(self, name: str, command: Sequence[str]) -> None:
        with (self._places.logs / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                command, cwd=ROOT, env=self._environment(), stdout=log, stderr=subprocess.STDOUT
            )

    def _environment(self) -> dict[str, str]:
        """What the demo's handlers want to know, beside what everybody gets."""
        return {
            **os.environ,
            "TIMEBALL_DEMO_OUT": str(self._places.demo),
            "TIMEBALL_DEMO_SMTP_PORT": str(self._smtp_port),
        }

    def _ready(self, name: str) -> Path:
        return self._places.folder / f"{name}.ready"

    def _await_address(self, name: str) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self._ready(name).exists():
                self._addresses[name] = self._ready(name).read_text().strip()
                print(f"{name} is ready: {self._addresses[name]}", flush=True)
                return
            if self._processes[name].poll() is not None:
                break
            time.sleep(0.05)
        log = (self._places.logs / f"{name}.log").read_text(errors="replace")
        raise SystemExit(f"{name} did not become ready:\n{log[-4_000:]}")

    def _write_facts(self, zookeeper: str, cassandra: str) -> None:
        facts = {
            "zookeeper": zookeeper,
            "cassandra": cassandra,
            "addresses": self._addresses,
            "demo": {"out": str(self._places.demo), "smtp_port": self._smtp_port},
            "pids": {name: process.pid for name, process in self._processes.items()},
            "starts": [str(path) for path in sorted(self._places.folder.glob("*.starts.jsonl"))],
        }
        partial = self._places.facts.with_suffix(".partial")
        partial.write_text(json.dumps(facts, indent=2) + "\n")
        partial.replace(self._places.facts)

    def _end_processes(self) -> None:
        for process in reversed(self._processes.values()):
            if process.poll() is None:
                process.terminate()
        for process in reversed(self._processes.values()):
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def up(places: Places, apps: Sequence[str]) -> int:
    """Start a cluster in the background and wait until it serves."""
    if _supervisor_pid(places) is not None:
        print("a cluster runs already; `make cluster-down` ends it", file=sys.stderr)
        return 1
    shutil.rmtree(places.folder, ignore_errors=True)
    places.logs.mkdir(parents=True)
    places.demo.mkdir()
    log = places.logs / "supervisor.log"
    command = [sys.executable, "-m", "tools.cluster", "--folder", str(places.folder), "supervise"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *apps], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    places.supervisor.write_text(f"{process.pid}\n")
    if not _follow(places, process, log):
        print(log.read_text(errors="replace")[-4_000:], file=sys.stderr)
        return 1
    return status(places)


def _follow(places: Places, process: subprocess.Popen[bytes], log: Path) -> bool:
    """Show the supervisor's lines until the facts are there."""
    shown = 0
    deadline = time.monotonic() + 2 * READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        text = log.read_text(errors="replace")
        print(text[shown:], end="", flush=True)
        shown = len(text)
        if places.facts.exists():
            return True
        time.sleep(0.1)
    return False


def down(places: Places) -> int:
    """End the supervisor and all that it started."""
    pid = _supervisor_pid(places)
    if pid is None:
        print("no cluster runs here")
        return 0
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 3 * STOP_WITHIN_S
    while time.monotonic() < deadline and _supervisor_pid(places) is not None:
        time.sleep(0.1)
    print(f"the cluster has ended; its logs are in {places.logs}")
    return 0


def status(places: Places) -> int:
    """The cluster's own answer."""
    if not places.facts.exists():
        print("no cluster runs here; `make cluster` starts one", file=sys.stderr)
        return 1
    facts = json.loads(places.facts.read_text())
    address = coordinators(facts)
    print(f"coordinators at {address}; logs in {places.logs}")
    command = [sys.executable, "-m", "timeball.cli", "--address", address, "cluster", "status"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def coordinators(facts: dict[str, Any]) -> str:
    """The address list of all coordinators, as clients take it."""
    addresses: dict[str, str] = facts["addresses"]
    return ",".join(a for name, a in sorted(addresses.items()) if name.startswith("coordinator"))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _supervisor_pid(places: Places) -> int | None:
    """Its process id while it lives."""
    try:
        pid = int(places.supervisor.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return None if _is_zombie(pid) else pid


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("verb", choices=("up", "down", "status", "supervise"))
    parser.add_argument("apps", nargs="*", default=[str(ROOT / "examples" / "demo_tasks.py")])
    parsed = parser.parse_args()
    places = Places(parsed.folder.resolve())
    if parsed.verb == "supervise":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        Supervisor(places, parsed.apps).run()
        return 0
    if parsed.verb == "up":
        return up(places, parsed.apps)
    return down(places) if parsed.verb == "down" else status(places)


if __name__ == "__main__":
    raise SystemExit(main())

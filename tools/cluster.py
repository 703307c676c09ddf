"""A whole cluster on loopback: `make cluster`, `make cluster-down`.

`up` starts a supervisor in the background and waits until everything serves; `down` ends it and
all that it started; `status` asks the cluster; `kill NAME` ends a process as a power cut does,
`restart NAME` does so and starts it again. Logs and facts lie in .cluster/. For development and
tests: one disk, no replication. What runs is in tools/local_cluster.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.local_cluster import (
    READY_WITHIN_S,
    ROOT,
    STOP_WITHIN_S,
    LocalCluster,
    Places,
    coordinators,
)

FOLDER: Final = ROOT / ".cluster"
LOOK_EVERY_S: Final = 0.1


def supervise(places: Places, apps: Sequence[str]) -> None:
    """Run a cluster until SIGTERM; SIGHUP starts again what has ended."""
    wishes: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda number, _: wishes.append(number))
    with LocalCluster(places, apps).running() as cluster:
        while True:
            time.sleep(LOOK_EVERY_S)
            if wishes:
                wishes.clear()
                cluster.restart_ended()


def up(places: Places, apps: Sequence[str]) -> int:
    """Start a cluster in the background and wait until it serves."""
    if _supervisor_pid(places) is not None:
        print("a cluster runs already; `make cluster-down` ends it", file=sys.stderr)
        return 1
    shutil.rmtree(places.folder, ignore_errors=True)
    places.make()
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
    address = coordinators(facts["addresses"])
    print(f"coordinators at {address}; logs in {places.logs}")
    for name, pages in sorted(facts["pages"].items()):
        if "console" in pages:
            print(f"console of {name}: {pages['console']}")
    print(flush=True)
    command = [sys.executable, "-m", "timeball.cli", "--address", address, "cluster", "status"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def kill(places: Places, name: str, *, restart: bool) -> int:
    """End one process as a power cut does, and perhaps have the supervisor start it again."""
    supervisor = _supervisor_pid(places)
    pids = json.loads(places.facts.read_text())["pids"] if places.facts.exists() else {}
    if supervisor is None or name not in pids:
        print(f"no {name} runs here; known: {', '.join(pids) or 'none'}", file=sys.stderr)
        return 1
    if not _is_zombie(pids[name]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[name], signal.SIGKILL)
    if restart:
        os.kill(supervisor, signal.SIGHUP)
    return 0


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
    parser.add_argument("verb", choices=("up", "down", "status", "kill", "restart", "supervise"))
    parser.add_argument("names", nargs="*", help="apps for up, processes for kill and restart")
    parsed = parser.parse_args()
    places = Places(parsed.folder.resolve())
    apps = parsed.names or [str(ROOT / "examples" / "demo_tasks.py")]
    if parsed.verb in ("kill", "restart"):
        again = parsed.verb == "restart"
        return max((kill(places, name, restart=again) for name in parsed.names), default=1)
    if parsed.verb == "supervise":
        supervise(places, apps)
    if parsed.verb == "up":
        return up(places, apps)
    return down(places) if parsed.verb == "down" else status(places)


if __name__ == "__main__":
    raise SystemExit(main())

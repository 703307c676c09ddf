"""The world around `make demo`: a local mailbox and a `timeball dev` process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

HERE = Path(__file__).resolve().parent
READY_WITHIN_S = 20.0
STOP_WITHIN_S = 10.0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Mailbox:
    """A real SMTP server on loopback that keeps what it receives."""

    def __init__(self, port: int | None = None) -> None:
        self.messages: list[Message] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=port or _free_port())

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.messages.append(message_from_bytes(envelope.content))
        return "250 Message accepted for delivery"

    def start(self) -> int:
        """Listen and answer the port."""
        self._controller.start()
        return int(self._controller.port)

    def stop(self) -> None:
        self._controller.stop()


class ClusterServer:
    """A cluster that `make cluster` has started; its facts tell where everything is."""

    def __init__(self, facts: Path) -> None:
        found = json.loads(facts.read_text())
        self.work = Path(found["demo"]["out"])
        self.smtp_port = int(found["demo"]["smtp_port"])
        self.start_logs = [Path(path) for path in found["starts"]]
        self._addresses: dict[str, str] = found["addresses"]

    def start(self) -> str:
        """Empty what a former demo left and answer the coordinators' addresses."""
        for path in self.work.iterdir():
            path.unlink()
        named = sorted(self._addresses.items())
        return ",".join(address for name, address in named if name.startswith("coordinator"))

    def stop(self) -> int:
        """It goes on."""
        return 0

    def output(self) -> str:
        """Its logs are where `make cluster` said."""
        return "see .cluster/logs"


class DevServer:
    """`timeball dev` in a process of its own, as a user starts it."""

    def __init__(self, work: Path, smtp_port: int) -> None:
        self.start_log = work / "starts.jsonl"
        self.start_logs = [self.start_log]
        self._log = work / "dev.log"
        self._ready = work / "ready"
        self._environment = {
            **os.environ,
            "TIMEBALL_DEMO_OUT": str(work),
            "TIMEBALL_DEMO_SMTP_PORT": str(smtp_port),
        }
        self._command = [
            sys.executable,
            "-m",
            "timeball.cli",
            "dev",
            str(HERE / "demo_tasks.py"),
            "--listen",
            "127.0.0.1:0",
            "--data",
            str(work / "dev.db"),
            "--start-log",
            str(self.start_log),
            "--ready-file",
            str(self._ready),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it and answer its address once it says that it is ready."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._ready.exists() and (address := self._ready.read_text().strip()):
                return address
            time.sleep(0.02)
        raise SystemExit(f"timeball dev did not become ready:\n{self.output()}")

    def stop(self) -> int:
        """Stop it politely and answer its exit code."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def output(self) -> str:
        """What it printed."""
        return self._log.read_text(errors="replace")

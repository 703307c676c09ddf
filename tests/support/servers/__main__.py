"""`python -m tests.support.servers`: servers to develop against, until ^C or the input's end.

Prints the variables that make the tests use them, or runs a command with them set:

    python -m tests.support.servers --cassandra 1 --zookeeper 1
    python -m tests.support.servers --cassandra 1 -- pytest tests/conformance
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.servers import cassandra_nodes, fixtures, zookeeper_nodes
from tests.support.servers.nodes import ServerCluster
from tests.support.servers.process import ServerError
from tools.jars import JarsError

KINDS: dict[str, tuple[str, Callable[..., ServerCluster[Any]]]] = {
    "cassandra": (fixtures.CASSANDRA_VARIABLE, cassandra_nodes.prepared),
    "zookeeper": (fixtures.ZOOKEEPER_VARIABLE, zookeeper_nodes.prepared),
}


@contextlib.contextmanager
def running(kind: str, count: int, folder: Path, **settings: Any) -> Iterator[ServerCluster[Any]]:
    """A cluster that serves inside the block; `settings` are those of its kind."""
    _, prepared = KINDS[kind]
    name = f"{kind}-{count}-{os.getpid()}"
    cluster = prepared(count, name=name, folder=folder / kind, logs=fixtures.logs(), **settings)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


def main() -> None:
    """Starts what was asked for, says where it is and waits."""
    parser = argparse.ArgumentParser(description=__doc__)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, choices=(0, 1, 3), default=0, metavar="COUNT")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --: run it, then end")
    parsed = vars(parser.parse_args())
    command = [word for word in parsed.pop("command") if word != "--"]
    asked = {kind: count for kind, count in parsed.items() if count}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="timeball-servers-") as folder,
        contextlib.ExitStack() as servers,
    ):
        for kind, count in asked.items():
            cluster = servers.enter_context(running(kind, count, Path(folder)))
            os.environ[KINDS[kind][0]] = cluster.endpoints
            print(f"export {KINDS[kind][0]}={cluster.endpoints}", flush=True)
        if command:
            raise SystemExit(subprocess.run(command, check=False).returncode)
        print(f"# logs are in {fixtures.LOGS}; ^C ends the servers", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    try:
        main()
    except (JarsError, ServerError) as error:
        raise SystemExit(str(error)) from error

"""`timeball executor`: an executor node as a process of its own."""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from timeball._version import __version__
from timeball.apps import load_handlers
from timeball.errors import TimeballError, Unavailable
from timeball.settings import DEFAULT_ADDRESS

from executor_node.service import ExecutorConfig
from executor_node.wiring import ClusterAddress, DataDirectoryLock, run_executor
from timeball_server.core.ids import NodeId
from timeball_server.runtime.logs import configure_logs
from timeball_server.runtime.loops import LoopChoice, LoopFactory, loop_factory

EXIT_UNREACHABLE = 3


class HandlerCap(click.ParamType[tuple[str, int]]):
    """HANDLER=N."""

    name = "handler=n"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Split at the last equals sign."""
        handler, _, number = str(value).rpartition("=")
        if not handler or not number.isdecimal() or int(number) < 1:
            self.fail(f"{value!r} is not a cap such as billing.charge=3", param, ctx)
        return handler, int(number)


class Labels(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "key=value"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split at the first equals sign."""
        key, equals, rest = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not a label such as region=north", param, ctx)
        return key, rest


@click.command("executor", context_settings={"auto_envvar_prefix": "TIMEBALL_EXECUTOR"})
@click.option("--app", required=True, help="module[:object] or file.py with the tasks to serve.")
@click.option(
    "--server",
    envvar="TIMEBALL_ADDRESS",
    default=DEFAULT_ADDRESS,
    show_default=True,
    help="host:port of the cluster to join.",
)
@click.option("--zookeeper", default="", metavar="HOST:PORT,.../ROOT",
              help="Join through ZooKeeper instead of --server.")  # fmt: skip
@click.option("--zookeeper-user", default="", help="Who made the entries there, if not open.")
@click.option("--zookeeper-password", default="",
              help="Better in TIMEBALL_EXECUTOR_ZOOKEEPER_PASSWORD.")  # fmt: skip
@click.option("--connect-deadline-ms", type=click.IntRange(0, 3_600_000), default=60_000,
              show_default=True, help="How long joining may take at the start.")  # fmt: skip
@click.option("--name", help="Name of this node, unique among the living; default: the host's.")
@click.option("--slots", type=click.IntRange(1, 10_000), default=100, show_default=True,
              help="Handlers at once.")  # fmt: skip
@click.option("--strength", type=click.IntRange(1, 100), default=50, show_default=True,
              help="Stronger executors get more urgent work.")  # fmt: skip
@click.option("--label", "labels", type=Labels(), multiple=True,
              help="What tasks may select by; repeatable.")  # fmt: skip
@click.option("--max-concurrent", "caps", type=HandlerCap(), multiple=True,
              help="Most attempts of one handler at once, e.g. billing.charge=3; "
              "repeatable.")  # fmt: skip
@click.option("--listen", default="127.0.0.1:0", show_default=True,
              help="host:port for scheduler nodes; port 0 takes a free one.")  # fmt: skip
@click.option("--advertise", help="host:port under which scheduler nodes reach it.")
@click.option("--start-log", type=click.Path(dir_okay=False, path_type=Path),
              help="Append one JSON line per start to this file.")  # fmt: skip
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path),
              help="Folder of this executor alone; two never share one.")  # fmt: skip
@click.option("--drain-ms", type=click.IntRange(0, 600_000), default=10_000, show_default=True,
              help="How long stopping may take before running work is handed back.")  # fmt: skip
@click.option("--session-timeout-ms", type=click.IntRange(500, 120_000), default=4_000,
              show_default=True, help="Silence after which this node counts as dead.")  # fmt: skip
@click.option("--api-key", envvar="TIMEBALL_API_KEY", default="", help="Credential, if needed.")
@click.option("--loop", type=click.Choice([each.value for each in LoopChoice]),
              default=LoopChoice.AUTO.value, show_default=True,
              help="Event loop; auto = uvloop where it is installed.")  # fmt: skip
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]),
              default="info", show_default=True)  # fmt: skip
def command(
    *,
    app: str,
    server: str,
    zookeeper: str,
    zookeeper_user: str,
    zookeeper_password: str,
    connect_deadline_ms: int,
    name: str | None,
    slots: int,
    strength: int,
    labels: Sequence[tuple[str, str]],
    caps: Sequence[tuple[str, int]],
    listen: str,
    advertise: str | None,
    start_log: Path | None,
    data_dir: Path | None,
    drain_ms: int,
    session_timeout_ms: int,
    api_key: str,
    loop: str,
    log_level: str,
) -> None:
    """Run tasks: join a cluster and serve the handlers of an app until SIGTERM."""
    node = NodeId(name or platform.node().lower() or "executor")
    configure_logs(sys.stderr, level=log_level, as_json=False, node=node)
    config = ExecutorConfig(
        node=node,
        listen=listen,
        advertise=advertise,
        slots=slots,
        strength=strength,
        labels=tuple(sorted(labels)),
        caps=tuple(sorted(dict(caps).items())),
        start_log=start_log,
        drain_ms=drain_ms,
        version=__version__,
    )
    cluster = ClusterAddress(
        server=server,
        session_timeout_ms=session_timeout_ms,
        api_key=api_key,
        zookeeper=zookeeper,
        zookeeper_user=zookeeper_user,
        zookeeper_password=zookeeper_password,
        connect_deadline_ms=connect_deadline_ms,
    )
    try:
        _run(app, config, cluster, data_dir, loop_factory(LoopChoice(loop)))
    except Unavailable as error:
        click.echo(f"Error: {error.message}", err=True)
        sys.exit(EXIT_UNREACHABLE)
    except (TimeballError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _run(
    app: str,
    config: ExecutorConfig,
    cluster: ClusterAddress,
    data_dir: Path | None,
    make_loop: LoopFactory | None,
) -> None:
    """Load, lock, run."""
    handlers = load_handlers(app)
    for name, _ in config.caps:
        if name not in handlers:
            raise click.BadParameter(f"{app} has no handler {name!r}", param_hint="max-concurrent")
    lock = None if data_dir is None else DataDirectoryLock(data_dir)
    names = ", ".join(sorted(handlers))
    click.echo(f"executor {config.node}: {config.slots} slots, serves {names}", err=True)
    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(run_executor(config, handlers, cluster))
    finally:
        if lock is not None:
            lock.release()

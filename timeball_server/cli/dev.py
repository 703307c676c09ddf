"""`timeball dev`: everything in one process, for development and small machines."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click
from timeball._version import __version__
from timeball.errors import TimeballError
from timeball.settings import DEFAULT_ADDRESS

from timeball_server.core.retention import DEFAULT_RETENTION_MS, HOUR_MS, LEAST_HOURS, MOST_HOURS
from timeball_server.dev.problems import (
    address_problems,
    apps_and_problems,
    file_problems,
    http_address,
)
from timeball_server.dev.wiring import DevCluster, DevConfig
from timeball_server.rpc.auth import OpenLoopback
from timeball_server.rpc.server import CannotListen
from timeball_server.runtime.collector import settle_collector
from timeball_server.runtime.config import EXIT_INVALID_CONFIGURATION
from timeball_server.runtime.logs import configure_logs
from timeball_server.runtime.loops import LoopChoice, loop_factory
from timeball_server.runtime.process import write_whole

DEFAULT_DATA = Path(".timeball") / "dev.db"


@click.command("dev", context_settings={"auto_envvar_prefix": "TIMEBALL_DEV"})
@click.argument("apps", nargs=-1)
@click.option("--listen", default=DEFAULT_ADDRESS, show_default=True,
              help="host:port, loopback only; port 0 takes a free one.")  # fmt: skip
@click.option("--http", metavar="HOST:PORT",
              help="Serves the API as JSON, loopback only; by default one port above --listen: "
              "127.0.0.1:7467.")  # fmt: skip
@click.option("--no-http", is_flag=True, help="Serve no JSON over HTTP.")
@click.option("--data", type=click.Path(dir_okay=False, path_type=Path), default=DEFAULT_DATA,
              show_default=True, help="The database file; made if it is not there.")  # fmt: skip
@click.option("--memory", is_flag=True, help="Keep nothing after the end.")
@click.option("--slots", type=click.IntRange(1, 10_000), default=100, show_default=True,
              help="Attempts at once in the built-in executor.")  # fmt: skip
@click.option("--retention-hours", type=click.IntRange(LEAST_HOURS, MOST_HOURS),
              default=DEFAULT_RETENTION_MS // HOUR_MS, show_default=True,
              help="Ended tasks are kept so long, then removed.")  # fmt: skip
@click.option("--start-log", type=click.Path(dir_okay=False, path_type=Path),
              help="Append one JSON line per start to this file.")  # fmt: skip
@click.option("--ready-file", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the public address to this file when everything is ready.")  # fmt: skip
@click.option("--metrics", metavar="HOST:PORT",
              help="Answer Prometheus there, loopback only; port 0 takes a free one.")  # fmt: skip
@click.option("--operators", metavar="HOST:PORT",
              help="Reflection, channelz and health for generic gRPC tools, loopback only; port 0 "
              "takes a free one.")  # fmt: skip
@click.option("--loop", type=click.Choice([each.value for each in LoopChoice]),
              default=LoopChoice.AUTO.value, show_default=True,
              help="Event loop; auto = uvloop where it is installed.")  # fmt: skip
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]),
              default="warning", show_default=True)  # fmt: skip
@click.option("--log-json", is_flag=True, help="One JSON object per line, for programs.")
def command(
    *,
    apps: tuple[str, ...],
    listen: str,
    http: str | None,
    no_http: bool,
    data: Path,
    memory: bool,
    slots: int,
    retention_hours: int,
    start_log: Path | None,
    ready_file: Path | None,
    metrics: str | None,
    operators: str | None,
    loop: str,
    log_level: str,
    log_json: bool,
) -> None:
    """Coordinator, scheduler node and executor in one process, on an SQLite file.

    APPS are modules or files with tasks, for example examples/hello.py. There is no replication
    and no access control here: it listens on loopback only, and everybody who can reach it may do
    everything.
    """
    configure_logs(sys.stderr, level=log_level, as_json=log_json, node="dev")
    kept = None if memory else data
    handlers, problems = apps_and_problems(apps)
    problems += address_problems(listen)
    problems += () if http is None else address_problems(http, "--http")
    problems += () if metrics is None else address_problems(metrics, "--metrics")
    problems += () if operators is None else address_problems(operators, "--operators")
    problems += file_problems(kept, {"--start-log": start_log, "--ready-file": ready_file})
    if problems:
        click.echo("\n".join(f"timeball dev: {problem}" for problem in problems), err=True)
        raise SystemExit(EXIT_INVALID_CONFIGURATION)
    config = DevConfig(
        listen=listen,
        data=kept,
        slots=slots,
        start_log=start_log,
        version=__version__,
        http="" if no_http else http_address(listen, http),
        metrics=metrics,
        operators=operators or "",
        retention_hours=retention_hours,
    )
    cluster = DevCluster(config, OpenLoopback(listen), handlers)
    try:
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
        with asyncio.Runner(loop_factory=loop_factory(LoopChoice(loop))) as runner:
            runner.run(_run(cluster, config, ready_file))
    except (TimeballError, CannotListen, OSError) as error:
        raise click.ClickException(str(error)) from error


async def _run(cluster: DevCluster, config: DevConfig, ready_file: Path | None) -> None:
    """Start, say so, and stop at the first SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stops: list[asyncio.Task[None]] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: stops.append(loop.create_task(cluster.stop())))
    await cluster.start()
    _say_ready(cluster, config)
    if cluster.metrics_address is not None:
        click.echo(f"  metrics: http://{cluster.metrics_address}/metrics", err=True)
    if cluster.operators_address:
        click.echo(f"  reflection and channelz: {cluster.operators_address}", err=True)
    if ready_file is not None:
        write_whole(ready_file, cluster.address)
    settle_collector()
    await cluster.wait_stopped()


def _say_ready(cluster: DevCluster, config: DevConfig) -> None:
    kept = "in memory, gone at the end" if config.data is None else f"in {config.data}"
    web = f"http://{cluster.http_address}/"
    rest = (f"  the same as JSON: {web}", f"  console: {web}console") if config.http else ()
    lines = (
        f"timeball {config.version} dev is ready on {cluster.address}",
        *rest,
        f"  more executors join with: timeball executor --server {cluster.address} --app ...",
        f"  tasks are kept {kept}; one disk, no replication",
        "  open to everybody on this machine: no keys are asked for",
    )
    click.echo("\n".join(lines), err=True)

"""`timeball schema`: makes and updates the tables of a cluster, by a person's command only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from timeball.errors import StoreUnavailable

EXIT_UNREACHABLE = 3
_PLACE = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>\d{1,5}))?")
_COPIES = re.compile(r"([A-Za-z0-9_-]+)=([1-9][0-9]?)")


@click.group("schema")
def command() -> None:
    """Make and update the tables of a cluster.

    Nodes never do this by themselves; they refuse to start on a schema that is not theirs.
    """


def _connection(function: Any) -> Any:
    """Where the database is: options of every command."""
    options = (
        click.option("--cassandra", metavar="HOST[:PORT],...", default="127.0.0.1:9042",
                     show_default=True, help="Some nodes; the others are found."),
        click.option("--keyspace", default="timeball", show_default=True),
        click.option("--datacenter", default="", help="Default: that of the nodes named."),
        click.option("--username", default="", envvar="TIMEBALL_CASSANDRA_USERNAME"),
        click.option("--password", default="", envvar="TIMEBALL_CASSANDRA_PASSWORD",
                     help="Better in the variable TIMEBALL_CASSANDRA_PASSWORD."),
        click.option("--tls-ca", default="", envvar="TIMEBALL_CASSANDRA_TLS_CA",
                     help="PEM file of who signed the servers' certificates; default: plain."),
        click.option("--wait", "wait_s", type=click.IntRange(0, 3_600), default=30,
                     show_default=True, help="Seconds to wait for the database."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _facts(function: Any) -> Any:
    """What a new cluster is told once: options of every command."""
    options = (
        click.option("--replicas", multiple=True, metavar="DATACENTER=COPIES",
                     help="New keyspace: copies in each data center. May be repeated."),
        click.option("--shards", type=click.IntRange(1, 65_536),
                     help="New cluster: into how many shards ids fall, for ever."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@command.command("plan")
@_connection
@_facts
def plan(*, replicas: tuple[str, ...], shards: int | None, **connection: Any) -> None:
    """Say what apply would do, and do nothing."""
    copies = _copies(replicas)
    with _applier(**connection) as applier:
        lines = applier.plan(copies, shards)
    for line in lines or ["nothing to do: the schema is up to date"]:
        click.echo(line)


@command.command("apply")
@_connection
@_facts
def apply(*, replicas: tuple[str, ...], shards: int | None, **connection: Any) -> None:
    """Bring the tables to this version. Safe to repeat; goes on where it stopped."""
    copies = _copies(replicas)
    with _applier(**connection) as applier:
        applier.apply(copies, shards)
    click.echo("the schema is up to date")


@contextmanager
def _applier(*, cassandra: str, wait_s: int, **more: str) -> Iterator[Any]:
    """Connected; leaves with 3 when the database cannot be reached."""
    from timeball_server.cli import wiring

    hosts, port = _places(cassandra)
    place = wiring.cassandra_at(hosts, port, connect_deadline_ms=wait_s * 1_000, **more)
    try:
        with wiring.schema_applier(place, _say) as applier:
            yield applier
    except StoreUnavailable as error:
        click.echo(f"error: {error.message}", err=True)
        click.get_current_context().exit(EXIT_UNREACHABLE)


def _places(text: str) -> tuple[tuple[str, ...], int]:
    """Hosts and the port that they share."""
    found = [_PLACE.fullmatch(part.strip()) for part in text.split(",")]
    places = [(each["six"] or each["host"], int(each["port"] or 9042)) for each in found if each]
    ports = {port for _, port in places}
    if len(places) != len(found) or len(ports) != 1:
        raise click.BadParameter(
            f"{text!r}: write host:port,host:port; all nodes have the same port",
            param_hint="--cassandra",
        )
    return tuple(host for host, _ in places), ports.pop()


def _copies(texts: tuple[str, ...]) -> dict[str, int] | None:
    found = [_COPIES.fullmatch(text) for text in texts]
    copies = {each[1]: int(each[2]) for each in found if each}
    if len(copies) != len(texts):
        raise click.BadParameter(
            "write each data center once, like datacenter1=3", param_hint="--replicas"
        )
    return copies or None


def _say(line: str) -> None:
    click.echo(line, err=True)

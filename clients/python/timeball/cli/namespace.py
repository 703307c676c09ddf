"""`timeball namespace`: tenants, for administrators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from timeball.cli.output import (
    as_json,
    output_option,
    print_json,
    print_table,
    request_id_option,
    short,
    time_of,
)
from timeball.cli.session import Session

if TYPE_CHECKING:
    from timeball.v1 import admin_service_pb2

HEADER = ("namespace", "title", "state", "created", "changed")


@click.group()
def group() -> None:
    """Make namespaces, switch them off and on."""


@group.command()
@click.argument("name")
@click.option("--title", default="", help="For people.")
@request_id_option
@output_option
@click.pass_obj
def create(session: Session, name: str, title: str, request_id: str | None, output: str) -> None:
    """Make the namespace NAME.

    Then `timeball key create SUBJECT --role submitter --in NAME` lets somebody in.
    """
    made = session.client.admin.create_namespace(name, title=title, request_id=request_id)
    show(made, output)


@group.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=1_000, show_default=True)
@output_option
@click.pass_obj
def list_namespaces(session: Session, limit: int, output: str) -> None:
    """List namespaces; `default`, which every cluster has, only if it was changed."""
    found = session.client.admin.namespaces(limit=limit)
    if output == "json":
        print_json({"namespaces": [as_json(each) for each in found]})
    else:
        table(found)


@group.command()
@click.argument("name")
@output_option
@click.pass_obj
def get(session: Session, name: str, output: str) -> None:
    """Show a namespace."""
    show(session.client.admin.namespace(name), output)


@group.command()
@click.argument("name")
@request_id_option
@output_option
@click.pass_obj
def disable(session: Session, name: str, request_id: str | None, output: str) -> None:
    """Refuse its stored keys within a minute; its tasks go on."""
    show(session.client.admin.disable_namespace(name, request_id=request_id), output)


@group.command()
@click.argument("name")
@request_id_option
@output_option
@click.pass_obj
def enable(session: Session, name: str, request_id: str | None, output: str) -> None:
    """Let its keys in again."""
    show(session.client.admin.enable_namespace(name, request_id=request_id), output)


def show(namespace: admin_service_pb2.Namespace, output: str) -> None:
    """Prints one namespace."""
    if output == "json":
        print_json(as_json(namespace))
    else:
        table([namespace])


def table(found: Sequence[admin_service_pb2.Namespace]) -> None:
    """Prints namespaces line by line."""
    print_table(HEADER, [_row(each) for each in found])


def _row(namespace: admin_service_pb2.Namespace) -> tuple[str, ...]:
    return (
        short(namespace.name),
        namespace.title,
        "enabled" if namespace.enabled else "disabled",
        time_of(namespace, "create_time"),
        time_of(namespace, "update_time"),
    )

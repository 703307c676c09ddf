"""`timeball user`: those on whose behalf tasks run, for administrators."""

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

HEADER = ("user", "name", "email", "channels", "state", "changed")


@click.group()
def group() -> None:
    """Make users, switch them off and on."""


def namespace_option(command: click.decorators.FC) -> click.decorators.FC:
    """Adds --in to a command: the namespace of what it names."""
    return click.option(
        "--in", "namespace", default="", metavar="NAMESPACE", help="Default: the key's own."
    )(command)


@group.command()
@click.argument("user")
@click.option("--name", default="", help="For people.")
@click.option("--email", default="", help="Where mail goes.")
@click.option("--channel", "channels", multiple=True, help="Where else; repeatable.")
@namespace_option
@request_id_option
@output_option
@click.pass_obj
def create(
    session: Session,
    user: str,
    name: str,
    email: str,
    channels: tuple[str, ...],
    namespace: str,
    request_id: str | None,
    output: str,
) -> None:
    """Make USER, as tasks call their owner and keys their subject."""
    made = session.client.admin.create_user(
        user,
        display_name=name,
        email=email,
        channels=channels,
        namespace=namespace,
        request_id=request_id,
    )
    show(made, output)


@group.command("list")
@namespace_option
@click.option("--limit", type=click.IntRange(min=1), default=1_000, show_default=True)
@output_option
@click.pass_obj
def list_users(session: Session, namespace: str, limit: int, output: str) -> None:
    """List users by name."""
    found = session.client.admin.users(namespace=namespace, limit=limit)
    if output == "json":
        print_json({"users": [as_json(each) for each in found]})
    else:
        table(found)


@group.command()
@click.argument("user")
@namespace_option
@output_option
@click.pass_obj
def get(session: Session, user: str, namespace: str, output: str) -> None:
    """Show a user."""
    show(session.client.admin.user(user, namespace=namespace), output)


@group.command()
@click.argument("user")
@namespace_option
@request_id_option
@output_option
@click.pass_obj
def disable(
    session: Session, user: str, namespace: str, request_id: str | None, output: str
) -> None:
    """Refuse the keys that stand for USER within a minute; the user's tasks go on."""
    admin = session.client.admin
    show(admin.disable_user(user, namespace=namespace, request_id=request_id), output)


@group.command()
@click.argument("user")
@namespace_option
@request_id_option
@output_option
@click.pass_obj
def enable(
    session: Session, user: str, namespace: str, request_id: str | None, output: str
) -> None:
    """Let the keys that stand for USER in again."""
    admin = session.client.admin
    show(admin.enable_user(user, namespace=namespace, request_id=request_id), output)


def show(user: admin_service_pb2.User, output: str) -> None:
    """Prints one user."""
    if output == "json":
        print_json(as_json(user))
    else:
        table([user])


def table(found: Sequence[admin_service_pb2.User]) -> None:
    """Prints users line by line."""
    print_table(HEADER, [_row(each) for each in found])


def _row(user: admin_service_pb2.User) -> tuple[str, ...]:
    return (
        short(user.name),
        user.display_name,
        user.email,
        ", ".join(user.channels),
        "enabled" if user.enabled else "disabled",
        time_of(user, "update_time"),
    )

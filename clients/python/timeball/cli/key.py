"""`timeball key`: API keys, for administrators. A secret is printed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from timeball.cli.instants import time_option
from timeball.cli.output import (
    as_json,
    output_option,
    print_json,
    print_table,
    request_id_option,
    short,
    time_of,
    word,
)
from timeball.cli.session import Session
from timeball.cli.user import namespace_option

if TYPE_CHECKING:
    from datetime import datetime

    from timeball.v1 import admin_service_pb2

HEADER = ("key", "subject", "roles", "state", "created", "expires", "by")
ROLES = ["viewer", "submitter", "operator", "publisher", "admin"]
PEPPER_VARIABLE = "TIMEBALL_ACCESS_PEPPER"


@click.group()
def group() -> None:
    """Make, list and revoke API keys."""


@group.command()
@click.argument("subject")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(ROLES))
@time_option("--expires", say="Ends by itself then: ISO 8601 with a zone.")
@namespace_option
@request_id_option
@output_option
@click.pass_obj
def create(
    session: Session,
    subject: str,
    roles: tuple[str, ...],
    expires: datetime | None,
    namespace: str,
    request_id: str | None,
    output: str,
) -> None:
    """Make a key for SUBJECT, a user or a service, and print it.

    The key goes to standard output and is kept nowhere: put it where its holder reads
    TIMEBALL_API_KEY. Two live keys of one subject may exist, so that one can replace the other.
    """
    made = session.client.admin.create_key(
        subject,
        roles=roles,
        expires=expires,
        namespace=namespace,
        request_id=request_id,
    )
    if output == "json":
        print_json(as_json(made))
    elif made.secret:
        table([made.key], err=True)
        click.echo(made.secret)
    else:
        click.echo("this request was answered before; its secret is not shown again", err=True)
        table([made.key])


@group.command("list")
@click.option("--subject", default="", help="Only keys of this subject.")
@namespace_option
@click.option("--limit", type=click.IntRange(min=1), default=1_000, show_default=True)
@output_option
@click.pass_obj
def list_keys(session: Session, subject: str, namespace: str, limit: int, output: str) -> None:
    """List keys, live or not, without secrets."""
    found = session.client.admin.keys(subject=subject, namespace=namespace, limit=limit)
    if output == "json":
        print_json({"keys": [as_json(each) for each in found]})
    else:
        table(found)


@group.command()
@click.argument("key")
@request_id_option
@output_option
@click.pass_obj
def revoke(session: Session, key: str, request_id: str | None, output: str) -> None:
    """Refuse KEY, by its id, on every coordinator within a minute."""
    revoked = session.client.admin.revoke_key(key, request_id=request_id)
    if output == "json":
        print_json(as_json(revoked))
    else:
        table([revoked])


@group.command()
@click.argument("subject")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(ROLES))
@click.option("--in", "namespace", default="default", show_default=True, metavar="NAMESPACE")
def first(subject: str, roles: tuple[str, ...], namespace: str) -> None:
    """Make a cluster's first key, without asking the cluster.

    Standard output gets lines for the file that `access.keys_file` names, standard error the key.
    The pepper is read from TIMEBALL_ACCESS_PEPPER, as the coordinators read it.
    """
    import hashlib
    import hmac
    import json
    import os
    import secrets

    pepper = os.environ.get(PEPPER_VARIABLE, "")
    if len(pepper.encode()) < 16:
        raise click.UsageError(f"{PEPPER_VARIABLE} must have at least 16 bytes")
    key_id = f"first-{secrets.token_hex(4)}"
    key = f"tb.{key_id}.{secrets.token_urlsafe(32)}"
    digest = hmac.digest(pepper.encode(), key.encode(), hashlib.sha256).hex()
    entry = {"digest": digest, "subject": subject, "namespace": namespace, "roles": list(roles)}
    click.echo(f"[{key_id}]")
    for name, value in entry.items():
        click.echo(f"{name} = {json.dumps(value)}")
    click.echo(key, err=True)


def table(found: Sequence[admin_service_pb2.Key], *, err: bool = False) -> None:
    """Prints keys line by line."""
    print_table(HEADER, [_row(each) for each in found], err=err)


def _row(key: admin_service_pb2.Key) -> tuple[str, ...]:
    revoked = "revoked" if key.HasField("revoke_time") else "expired"
    return (
        short(key.name),
        key.subject,
        " ".join(word(key.DESCRIPTOR, "roles", role).lower() for role in key.roles),
        "live" if key.live else revoked,
        time_of(key, "create_time"),
        time_of(key, "expire_time"),
        key.creator,
    )

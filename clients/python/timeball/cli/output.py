"""Prints API resources as tables for people or as JSON for programs.

JSON is protobuf's own mapping of the resource: what REST answers. A table on a terminal is drawn by
rich; piped, it is plain text without colours, and no cell is ever cut.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

F = TypeVar("F", bound=Callable[..., Any])
Row = Sequence[str]

STYLES = {
    "SUCCEEDED": "green",
    "RUNNING": "cyan",
    "RETRYING": "yellow",
    "FAILED": "red",
    "CANCELLED": "dim",
    "TERMINATED": "red",
}


def output_option(command: F) -> F:
    """Adds -o to a command."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="How to print.",
    )(command)


def request_id_option(command: F) -> F:
    """Adds --request-id to a command that changes something."""
    return click.option(
        "--request-id", metavar="UUID", help="Repeating it does nothing twice; default: fresh."
    )(command)


def print_json(value: object) -> None:
    """JSON, indented, in the order of the API's fields."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def as_json(message: Message) -> dict[str, Any]:
    """Protobuf's JSON mapping of a resource."""
    from google.protobuf.json_format import MessageToDict

    found: dict[str, Any] = MessageToDict(message)
    return found


def print_table(header: Row, rows: Sequence[Row], *, err: bool = False) -> None:
    """A table; drawn on a terminal, plain when piped. `err` sends it to standard error, plain."""
    cells = [[_one_line(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and not err:
        draw(header, cells)
    else:
        for line in plain(header, cells):
            click.echo(line, err=err)


def plain(header: Row, rows: Sequence[Row]) -> list[str]:
    """Aligned columns with two blanks between them."""
    grid = [[name.upper() for name in header], *rows]
    widths = [max(len(row[column]) for row in grid) for column in range(len(header))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in grid]


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "-"


def draw(header: Row, rows: Sequence[Row]) -> None:
    """A table for a terminal: coloured states, long cells folded into lines, never cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(table)


def time_of(message: Message, field: str) -> str:
    """The instant in a field of a message; nothing where it is not set."""
    return instant(getattr(message, field)) if message.HasField(field) else ""


def instant(stamp: Timestamp) -> str:
    """An instant in UTC to the millisecond."""
    from datetime import UTC

    when: datetime = stamp.ToDatetime(tzinfo=UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def short(name: str) -> str:
    """The last part of a resource name."""
    return name.rpartition("/")[2]


def word(message: Any, field: str, number: int) -> str:
    """A value of a message's enum field without its prefix; nothing for the unspecified one."""
    kind = message.fields_by_name[field].enum_type
    if number not in kind.values_by_number:
        return str(number)
    prefix = str(kind.values_by_number[0].name).removesuffix("UNSPECIFIED")
    return str(kind.values_by_number[number].name).removeprefix(prefix) if number else ""

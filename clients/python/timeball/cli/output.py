"""Prints API resources as tables for people or as JSON for programs.

JSON is protobuf's own mapping of the resource: what REST answers. A table on a terminal is drawn by
rich; piped, it is plain text without colours, and no cell is ever cut.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from unicodedata import combining, east_asian_width

import click

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

F = TypeVar("F", bound=Callable[..., Any])
Row = Sequence[str]

_GAP = 2
_FOLDED_LEAST = 20
"""So wide is a last column at least that is folded."""

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


def print_table(
    header: Row, rows: Sequence[Row], *, err: bool = False, empty: str = "nothing found"
) -> None:
    """A table; drawn on a terminal, plain when piped. `err` sends it to standard error, plain.

    `empty` is said on standard error if there are no rows.
    """
    cells = [[_one_line(cell) for cell in row] for row in rows]
    if not err and is_terminal() and draw(header, cells):
        return
    for line in plain(header, cells):
        click.echo(line, err=err)
    if not rows:
        click.echo(empty, err=True)


def is_terminal() -> bool:
    """Whether a person looks at standard output; it may be closed."""
    return sys.stdout is not None and sys.stdout.isatty()


def plain(header: Row, rows: Sequence[Row]) -> list[str]:
    """Aligned columns with two blanks between them."""
    grid = [[name.upper() for name in header], *rows]
    widths = [max(map(width, column)) for column in zip(*grid, strict=True)]
    return ["".join(map(_padded, row, widths)).rstrip() for row in grid]


def width(text: str) -> int:
    """How many places a text takes on a terminal: wide characters two, accents none."""
    if text.isascii():
        return len(text)
    wide = sum(east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(combining(each) != 0 for each in text)


def _padded(text: str, places: int) -> str:
    return text + " " * (places - width(text) + _GAP)


def _one_line(text: str) -> str:
    """A cell: what would steer the reader's terminal is shown, not done."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
    return line or "-"


def draw(header: Row, rows: Sequence[Row], places: int | None = None) -> bool:
    """A table for a terminal: coloured states, a long last cell folded into lines, none cut.

    An id that is folded cannot be copied: False, and nothing drawn, if the other columns would have
    to be narrower than they are, or there are no rows. `places` None = as wide as the terminal.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=places)
    columns = zip(header, *rows, strict=True)
    widths = [max(map(width, column)) for column in columns]
    left = console.width - sum(each + _GAP for each in widths[:-1])
    if not rows or left < min(widths[-1], _FOLDED_LEAST):
        return False
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header[:-1]:
        table.add_column(name.upper(), no_wrap=True)
    table.add_column(header[-1].upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    console.print(table)
    return True


def time_of(message: Message, field: str) -> str:
    """The instant in a field of a message; nothing where it is not set."""
    return instant(getattr(message, field)) if message.HasField(field) else ""


def instant(stamp: Timestamp) -> str:
    """An instant in UTC to the millisecond."""
    from datetime import UTC

    when: datetime = stamp.ToDatetime(tzinfo=UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def counted(count: int, thing: str) -> str:
    """One thing, or several: thing is the word for one."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


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

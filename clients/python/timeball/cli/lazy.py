"""A click group whose commands are imported when they are run.

Its own commands are listed by module path; other distributions join through the entry-point group
`timeball.commands`, whose names are known without importing anything.
"""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points

import click

COMMANDS_GROUP = "timeball.commands"


class LazyGroup(click.Group):
    """Looks commands up by name: own ones first, then those of other distributions."""

    # Name to "module:attribute" and the line that help shows.
    own: dict[str, tuple[str, str]] = {}  # noqa: RUF012 - subclasses replace it, nobody changes it
    # The entry-point group of commands that join.
    joining = COMMANDS_GROUP

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, own ones first; imports none of them."""
        return [*self.own, *sorted(set(_joined(self.joining)) - set(self.own))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports one command."""
        if cmd_name in self.own:
            module, _, attribute = self.own[cmd_name][0].partition(":")
            return _command(getattr(importlib.import_module(module), attribute), cmd_name)
        point = _joined(self.joining).get(cmd_name)
        return None if point is None else _command(_load(point), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        rows = [(name, line) for name, (_, line) in self.own.items()]
        rows += [
            (name, f"(of {point.dist.name})" if point.dist else "")
            for name, point in sorted(_joined(self.joining).items())
            if name not in self.own
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class VerbGroup(LazyGroup):
    """A group with verbs of its own module next to those that are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb."""
        return [*self.commands, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A verb by its name."""
        return self.commands.get(cmd_name) or super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the verbs here, and then the others."""
        rows = [(name, each.get_short_help_str()) for name, each in self.commands.items()]
        with formatter.section("Verbs"):
            formatter.write_dl(rows)
        super().format_commands(ctx, formatter)


def _joined(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def _load(point: EntryPoint) -> object:
    try:
        return point.load()
    except ModuleNotFoundError as error:
        source = point.dist.name if point.dist else "its distribution"
        extras = f"[{','.join(point.extras)}]" if point.extras else ""
        raise click.ClickException(
            f"`timeball {point.name}` needs the module {error.name!r}, which is not installed: "
            f"pip install '{source}{extras}'"
        ) from error


def _command(found: object, name: str) -> click.Command:
    if not isinstance(found, click.Command):
        raise click.ClickException(f"`timeball {name}` is not a command; it is broken")
    return found

"""A click group whose commands are imported when they are run.

Its own commands are listed by module path; other distributions join through the entry-point group
`timeball.commands`, whose names are known without importing anything.
"""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points

import click

COMMANDS_GROUP = "timeball.commands"
_WHOLE_LINE = 200
"""Characters of a verb's line in help: all of its first sentence."""


class LazyGroup(click.Group):
    """Looks commands up by name: own ones first, then those of other distributions."""

    # Name to "module:attribute" and the line that help shows.
    own: dict[str, tuple[str, str]] = {}  # noqa: RUF012 - subclasses replace it, nobody changes it
    # Name to the distribution that a known command comes with and the line that help shows.
    elsewhere: dict[str, tuple[str, str]] = {}  # noqa: RUF012 - as `own`
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
        if point is not None:
            return _command(_load(point), cmd_name)
        if cmd_name in self.elsewhere:
            source = self.elsewhere[cmd_name][0]
            raise click.UsageError(
                f"`{cmd_name}` comes with another package: pip install '{source}'"
            )
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """The commands and what help says of them, without importing them."""
        rows = [(name, line) for name, (_, line) in self.own.items()]
        for name, point in sorted(_joined(self.joining).items()):
            if name not in self.own:
                source = f"(of {point.dist.name})" if point.dist else ""
                rows.append((name, self.elsewhere.get(name, ("", source))[1]))
        return rows


class VerbGroup(LazyGroup):
    """A group with verbs of its own module next to those that are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb."""
        return [*self.commands, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A verb by its name."""
        return self.commands.get(cmd_name) or super().get_command(ctx, cmd_name)

    def lines(self) -> list[tuple[str, str]]:
        """The verbs here, and then the others."""
        here = [
            (name, each.get_short_help_str(_WHOLE_LINE)) for name, each in self.commands.items()
        ]
        return here + super().lines()


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

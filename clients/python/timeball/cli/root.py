"""The root command: options for every command, and one place where errors become exit codes."""

from __future__ import annotations

import errno

import click

from timeball._version import __version__
from timeball.cli.failures import INTERRUPTED, OTHER, exit_code, lines
from timeball.cli.lazy import LazyGroup
from timeball.cli.session import DEADLINE_DEFAULT, Session
from timeball.errors import TimeballError


class Root(LazyGroup):
    """Prints the family's errors and leaves with their exit codes."""

    own = {  # noqa: RUF012 - never changed
        "task": ("timeball.cli.task:group", "Create, read, await, change and cancel tasks."),
        "schedule": ("timeball.cli.schedule:group", "Run tasks again and again."),
        "cluster": ("timeball.cli.cluster:group", "Look at nodes and shards."),
        "node": ("timeball.cli.node:group", "Look at nodes and steer them."),
        "shard": ("timeball.cli.shard:group", "Look at shards and move them."),
        "dlq": ("timeball.cli.dlq:group", "Tasks that failed for good: list and redrive."),
        "namespace": ("timeball.cli.namespace:group", "Make namespaces, switch them off and on."),
        "limit": ("timeball.cli.limit:group", "How many run, how many start, and whose share."),
        "user": ("timeball.cli.user:group", "Make users, switch them off and on."),
        "key": ("timeball.cli.key:group", "Make, list and revoke API keys."),
        "audit": ("timeball.cli.audit:group", "Who changed what."),
    }
    elsewhere = {  # noqa: RUF012 - never changed
        "dev": ("timeball-server", "Run everything in one process, for development."),
        "executor": ("timeball-server", "Run the handlers of an app."),
        "schema": ("timeball-server[cluster]", "Make and update the tables of a cluster."),
    }

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except TimeballError as error:
            for line in lines(error):
                click.echo(line, err=True)
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:  # nobody reads on: click leaves without a word
                raise
            click.echo(f"error: {error}", err=True)
            ctx.exit(OTHER)


EPILOG = """Exit codes: 0 ok; 1 other failure; 2 usage, configuration or refused request; 3 not
found; 4 not authenticated or not allowed; 5 conflict or precondition; 6 unavailable or deadline;
7 limit; 130 interrupted. Waiting: 0 succeeded; 10 failed; 11 cancelled; 12 expired; 124 timeout."""


@click.group(cls=Root, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="timeball", message="%(prog)s %(version)s")
@click.option("--address", metavar="HOST:PORT", help="Default: TIMEBALL_ADDRESS, 127.0.0.1:7466.")
@click.option("--namespace", metavar="NAME", help="Default: TIMEBALL_NAMESPACE, the key's own.")
@click.option(
    "--deadline",
    metavar="DURATION",
    default=DEADLINE_DEFAULT,
    show_default=True,
    help="Bounds each call with its repetitions.",
)
@click.pass_context
def root(ctx: click.Context, address: str | None, namespace: str | None, deadline: str) -> None:
    """Timeball: tasks that run at their instant.

    The API key is read from TIMEBALL_API_KEY. Data goes to standard output, words to standard
    error.
    """
    session = ctx.ensure_object(Session)
    session.address, session.namespace, session.deadline = address, namespace, deadline
    ctx.call_on_close(session.close)

"""Puts the console together for a coordinator; imported only where one is wanted."""

from __future__ import annotations

from collections import Counter

from timeball_server.console.app import ConsoleApp
from timeball_server.console.collector import Collector, OnBug
from timeball_server.console.document import About
from timeball_server.console.keeper import Keeper
from timeball_server.console.sight import Look
from timeball_server.ports.clock import Clock
from timeball_server.rpc.auth import Authenticator, Sessions


def console(
    look: Look,
    authenticator: Authenticator,
    *,
    coordinator: str,
    version: str,
    store: str,
    clock: Clock,
    on_bug: OnBug,
    refused: Counter[str],
) -> ConsoleApp | None:
    """The console of one coordinator, None if its credentials know no sessions.

    Args:
        look: looks at the cluster once.
        authenticator: what the gate asks.
        coordinator: name of the one that shows it.
        store: what the store is, for example sqlite.
        refused: counts what it would not do, by reason.
    """
    if not isinstance(authenticator, Sessions):
        return None
    about = About(
        coordinator=coordinator, version=version, store=store, since_ms=clock.now().wall_ms
    )
    collector = Collector(look, about, clock, on_bug)
    return ConsoleApp(collector, Keeper(authenticator, authenticator), clock, refused)

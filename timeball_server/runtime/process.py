"""The main of a service: reads settings, starts, obeys signals, ends with an exit code.

0 = stopped as asked; 1 = failed while running; 2 = wrong settings, all of them said at once;
3 = something it needs could not be reached at start.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from timeball.errors import FailedPrecondition, TimeballError, Unavailable, Violation

from timeball_server.runtime.collector import settle_collector
from timeball_server.runtime.config import (
    EXIT_INVALID_CONFIGURATION,
    InvalidConfiguration,
    Sources,
    load,
)
from timeball_server.runtime.lifecycle import Service
from timeball_server.runtime.logs import configure_logs, hear_vendors
from timeball_server.runtime.loops import LoopChoice, loop_factory
from timeball_server.runtime.settings import NodeSettings

EXIT_UNREACHABLE: Final = 3
S = TypeVar("S")
Say = Callable[[str], None]
Make = Callable[[S, Say], Awaitable[Service]]


def main(
    name: str,
    settings_type: type[S],
    make: Make[S],
    problems: Callable[[S], Iterable[Violation]],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run one service until SIGTERM or SIGINT.

    Args:
        make: connects what the service needs and builds it; `say` takes lines for people.
        problems: rules that the settings' types cannot say.
    """
    parsed = parser(name).parse_args(arguments)
    try:
        settings = read_settings(settings_type, problems, parsed, os.environ)
        make_loop = loop_factory(LoopChoice(parsed.loop))
    except (InvalidConfiguration, FailedPrecondition, OSError) as error:
        _say(f"{name}: {error}")
        return EXIT_INVALID_CONFIGURATION
    node: NodeSettings = settings.node  # type: ignore[attr-defined]
    configure_logs(
        sys.stderr, level=node.log_level, as_json=node.log_json, node=node.name or default_name()
    )
    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(_run(name, settings, make, parsed.ready_file))


def default_name() -> str:
    """The host's name in the form of a node's."""
    return platform.node().lower() or "node"


def parser(name: str) -> argparse.ArgumentParser:
    """What a service's command line may say."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}")
    parser.add_argument("--config", type=Path, help="TOML file with settings")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.NAME=VALUE",
        help="one setting; wins over file and environment; repeatable",
    )
    choices = [choice.value for choice in LoopChoice]
    parser.add_argument("--loop", choices=choices, default=LoopChoice.AUTO.value)
    parser.add_argument("--ready-file", type=Path, help="gets the address when all is ready")
    return parser


def read_settings(
    settings_type: type[S],
    problems: Callable[[S], Iterable[Violation]],
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
) -> S:
    """The settings that a command line, its file and the environment come to.

    Raises:
        InvalidConfiguration: with everything that is wrong.
        OSError: the file cannot be read.
    """
    settings = load(settings_type, _sources(parsed, environment))
    if found := tuple(problems(settings)):
        raise InvalidConfiguration(
            "\n".join(f"- {each.field}: {each.description}" for each in found)
        )
    return settings


def _sources(parsed: argparse.Namespace, environment: Mapping[str, str]) -> Sources:
    text = parsed.config.read_text(encoding="utf-8") if parsed.config else ""
    flags: dict[str, str] = {}
    for item in parsed.set:
        path, equals, value = item.partition("=")
        flags[path if equals else item] = value
    return Sources(toml=text, environment=environment, flags=flags)


async def _run(name: str, settings: Any, make: Make[Any], ready_file: Path | None) -> int:
    hear_vendors(logging.CRITICAL)  # until it runs, one line of ours says what is amiss
    try:
        service = await make(settings, _say)
        await service.start()
    except Unavailable as error:
        _say(f"{name}: {error.message}")
        return EXIT_UNREACHABLE
    except (TimeballError, OSError) as error:
        _say(f"{name}: {error}")
        return EXIT_INVALID_CONFIGURATION
    hear_vendors(logging.WARNING)
    stops: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: stops.append(loop.create_task(service.stop())))
    if ready_file is not None:
        write_whole(ready_file, str(getattr(service, "address", "")))
    settle_collector()
    try:
        await service.wait_stopped()
    except TimeballError as error:
        _say(f"{name}: {error}")
        return 1
    return 0


def write_whole(path: Path, text: str) -> None:
    """Write a file of which readers never see half."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()

"""What is wrong with how `timeball dev` was asked to run; all of it, before anything is started.

Answers sentences for a person and changes nothing.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from timeball.apps import load_handlers
from timeball.errors import TimeballError
from timeball.registry import Handler

from timeball_server.rpc.auth import NotLoopback, OpenLoopback

_PORT_MAX = 65_535


def apps_and_problems(apps: Sequence[str]) -> tuple[dict[str, Handler], list[str]]:
    """The handlers of all apps, and what is wrong with those that cannot be used."""
    handlers: dict[str, Handler] = {}
    problems: list[str] = []
    for app in apps:
        try:
            handlers.update(load_handlers(app))
        except TimeballError as error:
            problems.append(f"{app}: {error}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is somebody else's code
            problems.append(f"{app} cannot be imported: {_told(error)}")
    return handlers, problems


def http_address(listen: str, http: str | None) -> str:
    """Where JSON over HTTP is served unless told otherwise: one port above `listen`."""
    host, _, port = listen.rpartition(":")
    return http or f"{host}:{int(port) + 1 if 0 < int(port) < _PORT_MAX else 0}"


def address_problems(address: str, option: str = "--listen") -> Iterator[str]:
    """What is wrong with host:port of a server without access control."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdecimal()):
        yield f"{option}: write host:port such as 127.0.0.1:7466, got {address!r}"
        return
    if int(port) > _PORT_MAX:
        yield f"{option}: a port is a number from 0 to {_PORT_MAX}, got {port}"
    try:
        OpenLoopback(address)
    except NotLoopback as error:
        yield f"{option}: {error}"


def file_problems(data: Path | None, others: Mapping[str, Path | None]) -> Iterator[str]:
    """What is wrong with the files to write; the folder of `data` is made later if need be."""
    if data is not None:
        yield from _unwritable("--data", data, _nearest(data.parent))
    for option, path in others.items():
        if path is not None:
            yield from _unwritable(option, path, path.parent)


def _unwritable(option: str, path: Path, folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        yield f"{option}: {path} cannot be written: {folder} is not a folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield f"{option}: {path} cannot be written: {folder} belongs to somebody else"
    elif path.exists() and not os.access(path, os.W_OK):
        yield f"{option}: {path} cannot be written: it is read-only"


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _told(error: BaseException) -> str:
    """The exception and the line of the app that raised it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})"

"""Finds the handlers of an app, for executors and the command line: by module, object or file.

Importing is the whole of it: what the app's own code does then is its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from timeball.errors import InvalidRequest
from timeball.registry import Handler, registry


class UnusableApp(InvalidRequest):
    """The text names no handlers."""

    reason = "UNUSABLE_APP"


def load_handlers(app: str) -> dict[str, Handler]:
    """Import an app and answer its handlers by name.

    Args:
        app: "package.module" or "path/to/file.py": everything that it registers;
            "package.module:object": one task, or an iterable of tasks.

    Raises:
        UnusableApp: there is no such module, file or object, or it has no handlers.
        Exception: whatever importing it raises.
    """
    place, _, attribute = app.partition(":")
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    if not attribute:
        found: Mapping[str, Handler] = registry
    else:
        found = {each.name: each for each in _handlers_of(module, place, attribute)}
    if not found:
        raise UnusableApp(f"{app} has no handlers; decorate a function with @timeball.task(name)")
    return dict(found)


def _import_module(name: str) -> ModuleType:
    # A console script does not have the current folder on its path, a person expects it.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise UnusableApp(
            f"there is no module {error.name!r} here; give a module such as 'shop.tasks' or a "
            "file such as 'shop/tasks.py'"
        ) from error


def _import_file(path: Path) -> ModuleType:
    """Import a file under a name of its own, so that it hides no module called the same."""
    spec = importlib.util.spec_from_file_location(f"timeball_app_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UnusableApp(f"there is no file {path}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _handlers_of(module: ModuleType, place: str, attribute: str) -> Iterable[Handler]:
    found = getattr(module, attribute, None)
    if found is None:
        raise UnusableApp(f"{place} has no {attribute!r}")
    for each in found if isinstance(found, Iterable) else (found,):
        handler = each if isinstance(each, Handler) else getattr(each, "handler", None)
        if not isinstance(handler, Handler):
            raise UnusableApp(f"{place}:{attribute} holds {each!r}, which is no task")
        yield handler

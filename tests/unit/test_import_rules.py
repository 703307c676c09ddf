"""Who may import whom: decisions know no input or output, services know no other service.

The layers, from the inside out: core, ports, adapters (store, coordination, rpc, runtime),
services, wiring. A module may import its own layer and the ones the table below allows; vendors
are confined to the room that owns them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SDK = "clients/python"
SERVICES = ("coordinator", "scheduler_node", "executor_node")
SERVER = ("timeball_server", *SERVICES)
OURS = ("timeball", *SERVER)
UNSHIPPED = ("tests", "tools", "examples", "deploy", "proto")
GENERATED = ("timeball.v1", "timeball_server.internal.v1")

# Standard library parts that neither read the world nor change it.
PURE_STDLIB = {
    *("__future__", "abc", "base64", "binascii", "bisect", "calendar", "collections", "contextlib"),
    *("dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq"),
    *("hmac", "itertools", "json", "math", "operator", "re", "string", "struct", "types", "typing"),
    *("unicodedata", "zlib", "zoneinfo"),
}
PORT_STDLIB = {
    *("__future__", "abc", "collections", "contextlib", "dataclasses", "enum", "types", "typing"),
}
# The one family of errors is the SDK's; it imports nothing itself.
ERRORS = "timeball.errors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """What one folder may import: the standard library's part, ours, and vendors'."""

    stdlib: set[str] | None = None
    ours: tuple[str, ...]
    vendors: tuple[str, ...] = ()


GRPC = ("grpc", "grpc_channelz", "grpc_health", "grpc_reflection", "grpc_status", "google")
SHARED = ("timeball_server.core", "timeball_server.ports", ERRORS)
SERVICE_NEEDS = (
    *SHARED,
    "timeball",
    "timeball_server.internal",
    "timeball_server.cluster",
    "timeball_server.console",
    "timeball_server.rpc",
    "timeball_server.rest",
    "timeball_server.runtime",
)
LAYERS = {
    "timeball_server.core": Layer(stdlib=PURE_STDLIB, ours=("timeball_server.core", ERRORS)),
    # Zone data lie in a package of their own, which zoneinfo falls back on as well; these two read
    # them there at once, so that no machine's own files decide when a schedule fires.
    "timeball_server.core.schedules": Layer(
        stdlib={*PURE_STDLIB, "importlib"}, ours=("timeball_server.core", ERRORS)
    ),
    # The oracle judges core.schedules, so it must not know it, nor anything else of ours.
    "timeball_server.oracle": Layer(
        stdlib={*PURE_STDLIB, "importlib"}, ours=("timeball_server.oracle",)
    ),
    "timeball_server.ports": Layer(stdlib=PORT_STDLIB, ours=SHARED),
    "timeball_server.store": Layer(ours=(*SHARED, "timeball_server.store")),
    "timeball_server.store.cassandra": Layer(
        ours=(*SHARED, "timeball_server.store"), vendors=("cassandra",)
    ),
    "timeball_server.coordination": Layer(ours=(*SHARED, "timeball_server.coordination")),
    # Membership over gRPC is a coordination adapter whose driver is grpc.
    "timeball_server.coordination.remote": Layer(
        ours=(
            *SHARED,
            "timeball_server.coordination",
            "timeball_server.internal",
            "timeball_server.rpc",
        ),
        vendors=("grpc",),
    ),
    "timeball_server.coordination.zookeeper": Layer(
        ours=(*SHARED, "timeball_server.coordination"), vendors=("kazoo",)
    ),
    "timeball_server.rpc": Layer(
        ours=(*SHARED, "timeball", "timeball_server.internal", "timeball_server.rpc"),
        vendors=(*GRPC, "protovalidate", "protobuf", "structlog"),
    ),
    "timeball_server.rest": Layer(
        ours=(*SHARED, "timeball", "timeball_server.rest", "timeball_server.rpc"),
        vendors=("grpc", "google", "starlette", "uvicorn"),
    ),
    "timeball_server.console": Layer(
        ours=(
            *SHARED,
            "timeball_server.console",
            "timeball_server.rest",
            "timeball_server.rpc.auth",
            "timeball_server.rpc.live_keys",
        ),
        vendors=("starlette", "structlog"),
    ),
    "timeball_server.runtime": Layer(
        ours=(*SHARED, "timeball_server.runtime"),
        vendors=("structlog", "uvloop", "prometheus_client"),
    ),
    "timeball_server.cli": Layer(ours=("timeball", "timeball_server"), vendors=("click", "rich")),
    "timeball_server.cluster": Layer(
        ours=(*SHARED, "timeball_server.cluster", "timeball_server.runtime")
    ),
    "timeball_server.dev": Layer(ours=OURS, vendors=(*GRPC, "structlog")),
    "coordinator": Layer(
        ours=("coordinator", *SERVICE_NEEDS), vendors=(*GRPC, "structlog", "click")
    ),
    "scheduler_node": Layer(
        ours=("scheduler_node", *SERVICE_NEEDS), vendors=(*GRPC, "structlog", "click")
    ),
    "executor_node": Layer(
        ours=("executor_node", *SERVICE_NEEDS),
        vendors=("grpc", "grpc_health", "google", "structlog", "click"),
    ),
    "timeball": Layer(ours=("timeball",), vendors=("grpc", "google")),
    "timeball.cli": Layer(ours=("timeball",), vendors=("grpc", "google", "click", "rich")),
}
# Named only where the pieces are put together: a module called wiring, and tests.
ADAPTERS = ("timeball_server.store", "timeball_server.coordination")
# One driver each, wherever it may otherwise look allowed.
ROOMS: dict[str, str | tuple[str, ...]] = {
    "cassandra": "timeball_server.store.cassandra",
    "kazoo": "timeball_server.coordination.zookeeper",
    "sqlite3": "timeball_server.store.sqlite",
    "protovalidate": "timeball_server.rpc",
    "starlette": ("timeball_server.rest", "timeball_server.console"),
    "uvicorn": "timeball_server.rest",
    "uvloop": "timeball_server.runtime",
    "prometheus_client": "timeball_server.runtime",
}


def within(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of the packages or inside one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def module_name(path: Path) -> str:
    """The dotted name a file is imported by."""
    base = ROOT / SDK if path.is_relative_to(ROOT / SDK) else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every import of a file, inside functions too; `from a import b` counts as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                yield node.lineno, "a relative import"
            else:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def layer_of(module: str) -> Layer:
    """The innermost layer a module belongs to."""
    owners = [name for name in LAYERS if within(module, name)]
    assert owners or module in OURS, f"{module} belongs to no layer: add it to the table"
    return LAYERS[max(owners, key=len)] if owners else Layer(ours=OURS)


def refusal(module: str, target: str) -> str:
    """Why a module may not import something, or an empty text when it may."""
    top = target.partition(".")[0]
    is_wiring = within(module, "timeball_server.dev") or module.endswith(".wiring")
    layer = layer_of(module)
    for vendor, room in ROOMS.items():
        if top == vendor and not module.startswith(room):
            return f"{vendor} stays in {room}"
    if within(module, "timeball") and within(target, *SERVER):
        return "the SDK knows nothing of the server"
    if within(target, *ADAPTERS) and not (is_wiring or within(module, *ADAPTERS)):
        return "adapters are named in wiring modules only"
    if top in sys.stdlib_module_names:
        allowed = layer.stdlib is None or top in layer.stdlib
        return "" if allowed else "this layer uses the standard library's pure parts only"
    if within(target, *OURS):
        if is_wiring and within(target, *ADAPTERS):
            return ""
        return "" if within(target, *layer.ours) else "this layer may not know that one"
    if top in UNSHIPPED or target == "a relative import":
        return "nothing shipped imports this"
    if top == "msgspec" and layer.stdlib is None:
        return ""
    return "" if within(target, *layer.vendors) else "this vendor has another room"


def shipped() -> list[Path]:
    """Every hand-written file of both distributions."""
    folders = (ROOT / SDK / "timeball", *(ROOT / name for name in SERVER))
    found = (path for folder in folders for path in sorted(folder.rglob("*.py")))
    return [path for path in found if not within(module_name(path), *GENERATED)]


def test_every_import_keeps_its_direction() -> None:
    files = shipped()
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{line}: {target}: {reason}"
        for path in files
        for line, target in imports(ast.parse(path.read_text(), filename=str(path)))
        if (reason := refusal(module_name(path), target))
    ]
    assert found == []


def test_the_simulation_has_a_loop_of_its_own_and_no_other() -> None:
    folders = ("tests/simulation", "tests/support/sim")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    files += [ROOT / "tests/support/virtual_loop.py", ROOT / "tools/sim.py"]
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in files
        for line, target in imports(ast.parse(path.read_text(), filename=str(path)))
        if within(target, "uvloop", "timeball_server.runtime.loops")
    ]
    assert len(files) > 4
    assert found == []


def test_nobody_imports_the_folder_of_proto_sources() -> None:
    folders = [ROOT / name for name in ("tests", "tools", "examples")]
    files = [*shipped(), *(path for folder in folders for path in folder.rglob("*.py"))]
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in files
        for line, target in imports(ast.parse(path.read_text(), filename=str(path)))
        if within(target, "proto")
    ]
    assert found == []
    assert not list((ROOT / "proto").rglob("*.py"))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("timeball_server.core.engine", "import asyncio"),
        ("timeball_server.core.engine", "import time"),
        ("timeball_server.core.engine", "import random"),
        ("timeball_server.core.engine", "import logging"),
        ("timeball_server.core.engine", "import uvloop"),
        ("timeball.async_client", "import uvloop"),
        ("scheduler_node.loop", "import uvloop"),
        ("timeball_server.core.engine", "import msgspec"),
        ("timeball_server.core.engine", "from timeball_server.ports import store"),
        ("timeball_server.core.engine", "from timeball_server import ports"),
        ("timeball_server.core.engine", "from . import ids"),
        ("timeball_server.core.engine", "from timeball.v1 import task_pb2"),
        ("timeball_server.core.schedules.zones", "import time"),
        ("timeball_server.core.engine", "import importlib"),
        ("timeball_server.oracle.rules", "from timeball_server.core.schedules import spec"),
        ("timeball_server.oracle.rules", "from timeball import errors"),
        ("timeball_server.core.schedules.cron", "from timeball_server.oracle import rules"),
        ("timeball_server.ports.store", "import asyncio"),
        ("timeball_server.ports.store", "from timeball_server.store import memory"),
        ("timeball_server.store.memory", "import sqlite3"),
        ("timeball_server.store.sqlite.store", "import cassandra.cluster"),
        ("timeball_server.store.sqlite.store", "from timeball_server.rpc import status"),
        ("timeball_server.store.sqlite.store", "from timeball_server.coordination import local"),
        ("timeball_server.coordination.local", "import kazoo.client"),
        ("timeball_server.rpc.server", "from timeball_server.store import memory"),
        ("timeball_server.rpc.server", "import coordinator.api"),
        ("timeball_server.runtime.clock", "import grpc"),
        ("scheduler_node.measuring", "import prometheus_client"),
        ("timeball_server.cli.migrate", "from timeball_server.store import sqlite"),
        ("coordinator.api", "import scheduler_node.loop"),
        ("coordinator.api", "from timeball_server.store.memory import MemoryStore"),
        ("coordinator.api", "def f():\n    from timeball_server.store import memory"),
        ("coordinator.wiring", "import executor_node.runner"),
        ("scheduler_node.loop", "from timeball_server.coordination.local import Local"),
        ("executor_node.runner", "import coordinator"),
        ("executor_node.runner", "import protovalidate"),
        ("timeball.client", "import timeball_server.core.ids"),
        ("timeball.client", "import executor_node"),
        ("timeball.client", "import click"),
        ("timeball.cli.main", "import tests.support"),
        ("timeball.client", "import proto"),
    ],
)
def test_the_rules_can_say_no(module: str, source: str) -> None:
    targets = [target for _, target in imports(ast.parse(source))]
    assert any(refusal(module, target) for target in targets)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("timeball_server.core.engine", "from timeball_server.core.ids import TaskId"),
        ("timeball_server.core.schedules.zones", "from importlib import resources"),
        ("timeball_server.ports.store", "from collections.abc import Sequence"),
        ("timeball_server.store.sqlite.store", "import sqlite3"),
        ("timeball_server.store.cassandra.store", "from cassandra.cluster import Cluster"),
        ("timeball_server.coordination.zookeeper", "from kazoo.client import KazooClient"),
        ("timeball_server.dev.wiring", "import coordinator.wiring"),
        ("timeball_server.dev.wiring", "from timeball_server.store.sqlite import store"),
        ("scheduler_node.wiring", "from timeball_server.store import sqlite"),
        ("coordinator.api", "from timeball.v1 import task_pb2"),
        ("timeball.client", "import grpc"),
        ("timeball.cli.main", "import click"),
    ],
)
def test_the_rules_let_good_neighbours_in(module: str, source: str) -> None:
    targets = [target for _, target in imports(ast.parse(source))]
    assert [reason for target in targets if (reason := refusal(module, target))] == []

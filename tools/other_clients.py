"""Makes the Go and the TypeScript client ready: their dependencies, generated code and programs.

Both are generated from `proto/` alone. Their code carries neither validation rules nor HTTP
annotations, so that it imports nothing but the protobuf runtimes: the same reasons as for the
Python stubs, see docs/adr/0003-stubs-without-rules.md.

Dependencies come from go.sum and package-lock.json, hash by hash, into caches below .cache; once
they are there, nothing needs a network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.message import Message

from tools import environments, prerequisites, protos

ROOT = Path(__file__).resolve().parent.parent
GO = ROOT / "clients" / "go"
TYPESCRIPT = ROOT / "clients" / "typescript"
CACHE = ROOT / ".cache" / "clients"
GO_MODULE = "timeball.example/timeball"
# Small clients: tasks only. Add a file here and both languages have its messages and methods.
SOURCES = ("timeball/v1/task.proto", "timeball/v1/task_service.proto")
# What statuses carry. Go's runtime has them in a package of its own.
STATUS_SOURCES = ("google/rpc/status.proto", "google/rpc/error_details.proto")
GO_CODE = GO / "timeballv1"
TYPESCRIPT_CODE = TYPESCRIPT / "src" / "gen"
GO_PLUGINS = (
    "google.golang.org/protobuf/cmd/protoc-gen-go",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc",
)
GO_PROBE = CACHE / "go-probe"
GO_EXAMPLE = CACHE / "go-hello"
TYPESCRIPT_PROBE = TYPESCRIPT / "dist" / "probe" / "probe.js"
TYPESCRIPT_EXAMPLE = TYPESCRIPT / "dist" / "examples" / "hello.js"


def gap() -> str:
    """What this machine lacks for both clients and how to get it, in a sentence; or nothing."""
    lacking = [row for row in prerequisites.other_clients() if not row.found]
    found = [f"{row.name} was not found: run `{row.command}`" for row in lacking]
    hint = "; where that brings an older one, install it as its makers say"
    return "; ".join(found) + hint if found else ""


def environment(*, online: bool = False) -> dict[str, str]:
    """What go, npm and node run with: our caches, and no network unless it is asked for."""
    return {
        **os.environ,
        "GOMODCACHE": str(ROOT / ".cache" / "go" / "modules"),
        "GOCACHE": str(ROOT / ".cache" / "go" / "build"),
        # Writable, so that `make clean` can remove it.
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "npm_config_cache": str(ROOT / ".cache" / "npm"),
        "npm_config_update_notifier": "false",
        **({} if online else {"GOPROXY": "off", "npm_config_offline": "true"}),
    }


def run(folder: Path, *command: str, online: bool = False) -> None:
    """Runs one command; ends the tool with a sentence when it fails."""
    program = shutil.which(command[0]) or command[0]
    outcome = subprocess.run(
        [program, *command[1:]], cwd=folder, env=environment(online=online), check=False
    )
    if outcome.returncode != 0:
        where = folder.relative_to(ROOT)
        raise SystemExit(f"`{' '.join(command)}` failed in {where}: see the lines above")


def fetch() -> None:
    """Downloads what the locks name, once; a second run asks nobody.

    Raises SystemExit with the install command when Go or Node is missing or too old.
    """
    if missing := gap():
        raise SystemExit(missing)
    with environments.exclusive(CACHE):
        fetch_if_changed(GO / "go.sum", GO, "go", "mod", "download")
        lock = TYPESCRIPT / "package-lock.json"
        fetch_if_changed(lock, TYPESCRIPT, "npm", "ci", "--no-audit", "--no-fund")


def lock() -> None:
    """Writes go.sum and package-lock.json anew from go.mod and package.json; asks the network."""
    run(GO, "go", "mod", "tidy", online=True)
    run(TYPESCRIPT, "npm", "install", "--package-lock-only", "--no-audit", online=True)
    path = TYPESCRIPT / "package-lock.json"
    locked = json.loads(path.read_text())
    for package in locked["packages"].values():
        # Whom to pay is an address too, and nothing that is installed depends on it.
        package.pop("funding", None)
    path.write_text(json.dumps(locked, indent=2, ensure_ascii=False) + "\n")


def fetch_if_changed(lock: Path, folder: Path, *command: str) -> None:
    """Runs the command unless it has run for exactly this lock, here."""
    stamp = CACHE / f"{lock.name}.stamp"
    wanted = f"{hashlib.sha256(lock.read_bytes()).hexdigest()} {folder}\n"
    is_there = lock.name != "package-lock.json" or (folder / "node_modules").is_dir()
    if is_there and stamp.is_file() and stamp.read_text() == wanted:
        return
    print(f"{folder.relative_to(ROOT)}: fetching what {lock.name} names, once", flush=True)
    run(folder, *command, online=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    stamp.write_text(wanted)


def build() -> None:
    """Compiles both clients, their probes and their examples."""
    fetch()
    with environments.exclusive(CACHE):
        run(GO, "go", "build", "-o", str(GO_PROBE), "./internal/probe")
        run(GO, "go", "build", "-o", str(GO_EXAMPLE), "./examples/hello")
        # What checks and tests compile is kept too, so that these only run it.
        run(GO, "go", "vet", "./...")
        run(GO, "go", "test", "-run", "^$", "./...")
        shutil.rmtree(TYPESCRIPT / "dist", ignore_errors=True)
        run(TYPESCRIPT, "npm", "run", "--silent", "build")


def clear_extensions(message: Message) -> None:
    """Drops every option that an imported file declares, everywhere in a descriptor."""
    field: Any
    for field, value in message.ListFields():
        if field.is_extension:
            message.ClearExtension(field)
        elif field.message_type:
            for part in value if field.is_repeated else (value,):
                clear_extensions(part)
            if field.name == "options" and not value.ByteSize():
                message.ClearField("options")


def plain(annotated: descriptor_pb2.FileDescriptorSet) -> descriptor_pb2.FileDescriptorSet:
    """The public protos without a single annotation: they import google.protobuf and each other."""
    stripped = protos.strip_rules(annotated)
    kept = [file for file in stripped.file if file.package in ("timeball.v1", "google.protobuf")]
    for file in kept:
        clear_extensions(file)
        needed = [name for name in file.dependency if not name.startswith("google/api/")]
        del file.dependency[:]
        file.dependency.extend(needed)
    return descriptor_pb2.FileDescriptorSet(file=kept)


def generate(go_code: Path, typescript_code: Path) -> None:
    """Writes both clients' generated code into these folders, anew."""
    fetch()
    for package in GO_PLUGINS:
        run(GO, "go", "build", "-o", str(CACHE / package.rpartition("/")[2]), package)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        compiled = protos.compile_sources(scratch / "full.binpb", source_info=True)
        image = scratch / "plain.binpb"
        image.write_bytes(plain(compiled).SerializeToString(deterministic=True))
        generate_go(image, scratch)
        generate_typescript(image, scratch)
        replace(scratch / "go", go_code)
        replace(scratch / "typescript", typescript_code)


def generate_go(image: Path, scratch: Path) -> None:
    """Messages and client stubs for Go."""
    into = scratch / "go"
    into.mkdir()
    package = f"{GO_MODULE}/{GO_CODE.name}"
    options = [f"module={package}", *(f"M{source}={package}" for source in SOURCES)]
    protos.protoc(
        f"--descriptor_set_in={image}",
        *(f"--plugin={CACHE / name}" for name in ("protoc-gen-go", "protoc-gen-go-grpc")),
        *(f"--{kind}_out={into}" for kind in ("go", "go-grpc")),
        *(f"--{kind}_opt={option}" for kind in ("go", "go-grpc") for option in options),
        *SOURCES,
    )


def generate_typescript(image: Path, scratch: Path) -> None:
    """Messages and descriptors for TypeScript, those of statuses included."""
    into = scratch / "typescript"
    into.mkdir()
    plugin = TYPESCRIPT / "node_modules" / ".bin" / "protoc-gen-es"
    common = (
        f"--plugin=protoc-gen-es={plugin}",
        f"--es_out={into}",
        "--es_opt=target=ts,import_extension=js",
    )
    protos.protoc(f"--descriptor_set_in={image}", *common, *SOURCES)
    libraries = next((ROOT / ".venv-proto" / "lib").glob("python*/site-packages"))
    roots = (libraries, libraries / "grpc_tools" / "_proto")
    protos.protoc(*(f"--proto_path={root}" for root in roots), *common, *STATUS_SOURCES)


def replace(made: Path, target: Path) -> None:
    """Puts a new folder in the place of an old one."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(made, target)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its name there."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def differing(one: Path, other: Path) -> list[str]:
    """The names of files that are not the same in both folders."""
    found, wanted = contents(one), contents(other)
    return sorted(name for name in found | wanted if found.get(name) != wanted.get(name))


def drift() -> list[str]:
    """One sentence for each generated file that is not what proto/ says."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = {GO_CODE: Path(folder) / "go", TYPESCRIPT_CODE: Path(folder) / "typescript"}
        generate(*fresh.values())
        problems = []
        for committed, made in fresh.items():
            place = committed.relative_to(ROOT).as_posix()
            names = differing(committed, made)
            problems += [f"{place}/{name} is not what proto/ says" for name in names]
        return problems


def main() -> None:
    """Reads the command line: fetch, build, generate or verify."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["fetch", "lock", "build", "generate", "verify"])
    where_possible = "a machine that lacks Go or Node is told so, and that is all"
    parser.add_argument("--where-possible", action="store_true", help=where_possible)
    arguments = parser.parse_args()
    if arguments.where_possible and (missing := gap()):
        print(f"the Go and the TypeScript client were left as they are: {missing}")
        return
    verb = arguments.verb
    if verb == "fetch":
        fetch()
    elif verb == "lock":
        lock()
    elif verb == "build":
        build()
    elif verb == "generate":
        generate(GO_CODE, TYPESCRIPT_CODE)
    else:
        problems = drift()
        print("\n".join(problems) or "the Go and the TypeScript client are what proto/ says")
        sys.exit(int(bool(problems)))


if __name__ == "__main__":
    main()

"""Makes everything that comes from proto/: typed stubs, validation rules, and the checks on both.

Two products leave the same sources:

* Stubs, generated WITHOUT the buf.validate annotations, so that the SDK needs no `buf` module:
  `timeball.v1` into clients/python, `timeball.internal.v1` into timeball_server/internal/v1.
* Rules, the full annotated descriptor set with every import, in timeball_server/rpc/rules.binpb.
  The server loads it into a private descriptor pool and validates requests there (see
  docs/dependencies.md, protovalidate).

The generator lives in .venv-proto and is older than the runtime on purpose: generated code refuses
a runtime older than its generator. Nothing here touches the network.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Imported for their side effect: options they declare survive `strip_rules`.
from google.api import annotations_pb2, client_pb2, field_behavior_pb2, resource_pb2
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"
GENERATOR = ROOT / ".venv-proto" / "bin" / "python"
BUF = ROOT / ".venv" / "bin" / "buf"
BASELINE = SOURCES / "baseline.binpb"
RULES = "timeball_server/rpc/rules.binpb"
KEPT_OPTIONS = (annotations_pb2, client_pb2, field_behavior_pb2, resource_pb2)
INTERNAL_MODULE = re.compile(r"\btimeball\.internal\.v1(?=\.\w+_pb2|\s+import\b)")
INTERNAL_DOTTED = re.compile(r"timeball_dot_internal_dot_v1_dot_")


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One proto package: where its sources are and where its stubs go, both relative."""

    sources: str
    stubs: str
    title: str


PACKAGES = (
    Package(
        sources="timeball/v1",
        stubs="clients/python/timeball/v1",
        title="Stubs of the public API",
    ),
    Package(
        sources="timeball/internal/v1",
        stubs="timeball_server/internal/v1",
        title="Stubs of the API between Timeball's own services",
    ),
)


def protoc(*arguments: str) -> None:
    """Runs the pinned protoc; ends the tool with its complaint when the sources are wrong."""
    outcome = subprocess.run(
        [str(GENERATOR), "-m", "grpc_tools.protoc", *arguments], cwd=ROOT, check=False
    )
    if outcome.returncode != 0:
        raise SystemExit("proto/ does not compile: see the lines above")


def source_files(package: Package) -> list[str]:
    """The package's proto files, relative to proto/, in a fixed order."""
    found = sorted((SOURCES / package.sources).glob("*.proto"))
    return [path.relative_to(SOURCES).as_posix() for path in found]


def compile_sources(into: Path, *, source_info: bool) -> descriptor_pb2.FileDescriptorSet:
    """Compiles every package with all its imports, dependencies first."""
    libraries = next((ROOT / ".venv-proto" / "lib").glob("python*/site-packages"))
    roots = [SOURCES, SOURCES / "vendor", libraries, libraries / "grpc_tools" / "_proto"]
    protoc(
        *(f"--proto_path={root}" for root in roots),
        "--include_imports",
        *(["--include_source_info"] if source_info else []),
        f"--descriptor_set_out={into}",
        *(name for package in PACKAGES for name in source_files(package)),
    )
    return descriptor_pb2.FileDescriptorSet.FromString(into.read_bytes())


def strip_rules(
    annotated: descriptor_pb2.FileDescriptorSet,
) -> descriptor_pb2.FileDescriptorSet:
    """The same files without buf.validate: no import of it, no option declared by it.

    buf.validate's options are unknown fields here because its Python module is not imported, and
    google.api's are known because theirs are; dropping unknown fields is therefore the whole job.
    """
    stripped = descriptor_pb2.FileDescriptorSet()
    stripped.CopyFrom(annotated)
    stripped.DiscardUnknownFields()
    kept = [file for file in stripped.file if not file.package.startswith("buf.")]
    del stripped.file[:]
    for file in kept:
        needed = [name for name in file.dependency if not name.startswith("buf/")]
        del file.dependency[:]
        file.dependency.extend(needed)
    stripped.file.extend(kept)
    return stripped


def write_stubs(stripped: Path, services: set[str], scratch: Path, into: Path) -> None:
    """Generates each package's stubs under `into`, laid out as in the checkout."""
    names = [name for package in PACKAGES for name in source_files(package)]
    protoc(
        f"--descriptor_set_in={stripped}",
        f"--plugin=protoc-gen-mypy={GENERATOR.parent / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={GENERATOR.parent / 'protoc-gen-mypy_grpc'}",
        f"--python_out={scratch}",
        f"--grpc_python_out={scratch}",
        f"--mypy_out=quiet:{scratch}",
        f"--mypy_grpc_out=quiet:{scratch}",
        *names,
    )
    for package in PACKAGES:
        target = into / package.stubs
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted((scratch / package.sources).glob("*_pb2*.py*")):
            if "_pb2_grpc." in path.name and path.name.split("_pb2_grpc.")[0] not in services:
                continue
            (target / path.name).write_text(relocate(path.read_text()))
        (target / "__init__.py").write_text(f'"""{package.title}, generated by `make proto`."""\n')


def relocate(text: str) -> str:
    """Points imports of the internal stubs at the package they are installed in."""
    moved = INTERNAL_MODULE.sub("timeball_server.internal.v1", text)
    return INTERNAL_DOTTED.sub("timeball__server_dot_internal_dot_v1_dot_", moved)


def generate(into: Path) -> None:
    """Writes stubs and rules under `into`, and removes stubs whose source is gone."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        rules = compile_sources(scratch / "rules.binpb", source_info=False)
        stripped = strip_rules(compile_sources(scratch / "full.binpb", source_info=True))
        (scratch / "stripped.binpb").write_bytes(stripped.SerializeToString(deterministic=True))
        for package in PACKAGES:
            for stale in (into / package.stubs).glob("*_pb2*.py*"):
                stale.unlink()
        services = {Path(file.name).stem for file in stripped.file if file.service}
        (scratch / "out").mkdir()
        write_stubs(scratch / "stripped.binpb", services, scratch / "out", into)
        (into / RULES).parent.mkdir(parents=True, exist_ok=True)
        (into / RULES).write_bytes(rules.SerializeToString(deterministic=True))


def products(root: Path) -> Iterator[Path]:
    """Every generated file under `root`, relative to it."""
    for package in PACKAGES:
        folder = root / package.stubs
        yield from (path.relative_to(root) for path in folder.glob("*_pb2*.py*"))
        yield Path(package.stubs) / "__init__.py"
    yield Path(RULES)


def drift() -> list[str]:
    """One sentence for each generated file that differs from what proto/ says."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        problems = []
        for name in sorted({*products(fresh), *products(ROOT)}):
            wanted, found = fresh / name, ROOT / name
            if not wanted.exists():
                problems.append(f"{name} has no source any more")
            elif not found.exists() or found.read_bytes() != wanted.read_bytes():
                problems.append(f"{name} is not what proto/ says")
        return problems


def buf(*arguments: str) -> list[str]:
    """Runs buf on a compiled set and returns its findings, one line each."""
    command = [str(BUF), *arguments, "--config", str(ROOT / "buf.yaml")]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = (outcome.stdout + outcome.stderr).strip().splitlines()
    return lines if outcome.returncode != 0 else []


def verify() -> int:
    """Drift, style and compatibility; prints every finding and returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        compile_sources(image, source_info=True)
        against = ("--against", str(BASELINE))
        findings = {
            "drift (run `make proto` and commit)": drift(),
            "style": buf("lint", str(image)),
            "compatibility with proto/baseline.binpb": buf("breaking", str(image), *against),
        }
    for title, lines in findings.items():
        print(f"{title}: {'clean' if not lines else f'{len(lines)} findings'}")
        for line in lines:
            print(f"  {line}")
    return int(any(findings.values()))


def main() -> None:
    """Reads the command line: generate, verify or baseline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["generate", "verify", "baseline"])
    verb = parser.parse_args().verb
    if verb == "generate":
        generate(ROOT)
    elif verb == "baseline":
        compile_sources(BASELINE, source_info=False)
    else:
        sys.exit(verify())


if __name__ == "__main__":
    main()

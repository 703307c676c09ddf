"""What deploy/ describes, checked without running it: schemas, rules, and our own parsers.

No container engine and no service manager has run these files; every command line in them is
parsed by the programs that they name, so that they cannot drift apart.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from dockerfile_parse import DockerfileParser
from timeball.cli.root import root as command_line

import coordinator.__main__ as coordinator_main
import scheduler_node.__main__ as scheduler_main
from executor_node.cli import command as executor_command
from scheduler_node.service import DRAIN_MS
from timeball_server.cluster.settings import CoordinatorSettings, SchedulerNodeSettings
from timeball_server.runtime.config import InvalidConfiguration
from timeball_server.runtime.process import parser, read_settings
from timeball_server.runtime.settings import NodeSettings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
PYTHON = "/opt/timeball/bin/python"
OUR_IMAGE = "timeball:local"
ENVIRONMENT = {"TIMEBALL_ACCESS_PEPPER": "0123456789abcdef0123456789abcdef"}
SERVICES = {
    "coordinator": (CoordinatorSettings, coordinator_main._problems),
    "scheduler_node": (SchedulerNodeSettings, scheduler_main.problems),
}
Unit = list[tuple[str, str, str]]


def loaded(module: str, words: list[str]) -> Any:
    """The settings that a service would run with; its file is the one of deploy/config."""
    settings_type, problems = SERVICES[module]
    parsed = parser(module).parse_args(words)
    assert parsed.config.parent == Path("/etc/timeball")
    parsed.config = DEPLOY / "config" / parsed.config.name
    return read_settings(settings_type, problems, parsed, ENVIRONMENT)  # type: ignore[arg-type]


def checked(module: str, words: list[str]) -> Any:
    """Parse a command line by the program that it starts; settings, where there are any."""
    if module in SERVICES:
        return loaded(module, words)
    if module == "executor_node":
        executor_command.make_context("executor", list(words))
        return None
    assert module == "timeball.cli"
    found: click.Command = command_line
    context: click.Context | None = None
    while isinstance(found, click.Group):
        context = found.make_context(found.name, list(words), parent=context)
        _, chosen, words = found.resolve_command(context, [*context._protected_args, *context.args])
        assert chosen is not None
        found = chosen
    found.make_context(found.name, list(words), parent=context)
    return None


# -- compose


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def ours() -> dict[str, dict[str, Any]]:
    """Services that run our image."""
    services = compose()["services"]
    return {name: each for name, each in services.items() if each["image"] == OUR_IMAGE}


def schema_problems(path: Path) -> str:
    """What the published schema of compose files has against this one; empty when nothing."""
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, str(path)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_compose_file_is_one_by_the_published_schema(tmp_path: Path) -> None:
    assert schema_problems(COMPOSE) == ""
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("stop_grace_period", "stop_grace_perio"))
    assert "stop_grace_perio" in schema_problems(broken)


@pytest.mark.parametrize("name", sorted(ours()))
def test_every_command_of_the_compose_file_is_understood(name: str) -> None:
    module, *words = ours()[name]["command"]
    settings = checked(module, words)
    if settings is None:
        return
    services = compose()["services"]
    assert settings.node.name == name
    assert settings.listen.advertise == f"{name}:{settings.listen.port}"
    for address in (*settings.store.addresses, *settings.coordination.addresses):
        assert address.partition(":")[0] in services
    for port in ours()[name].get("ports", ()):
        assert port.rpartition(":")[2] == str(settings.listen.port)
    assert f":{settings.metrics.port}/healthz" in " ".join(ours()[name]["healthcheck"]["test"])


def test_what_our_programs_do_not_understand_is_found() -> None:
    config = "--config=/etc/timeball/scheduler-node.toml"
    with pytest.raises(InvalidConfiguration, match=r"store\.colour"):
        checked("scheduler_node", [config, "--set=store.colour=red"])
    with pytest.raises(click.ClickException):
        checked("executor_node", ["--app=x", "--colour=red"])
    with pytest.raises(click.ClickException):
        checked("timeball.cli", ["schema", "apply", "--colour=red"])


def test_it_is_the_cluster_of_make_cluster() -> None:
    modules = [each["command"][0] for each in ours().values()]
    assert sorted(modules) == sorted(
        ["timeball.cli", *["scheduler_node"] * 2, *["coordinator"] * 2, *["executor_node"] * 3]
    )
    words = [word for each in ours().values() for word in each["command"]]
    assert [word for word in words if "--strength" in word] == [
        "--strength=1",
        "--strength=5",
        "--strength=10",
    ]


def test_the_schema_that_is_applied_is_the_one_that_nodes_expect() -> None:
    settings = checked(*split(ours()["scheduler-1"]["command"]))
    applied = dict(word.lstrip("-").partition("=")[::2] for word in ours()["schema"]["command"])
    assert applied["shards"] == str(settings.cluster.shards)
    assert (applied["replicas"],) == settings.cluster.replicas
    assert applied["cassandra"] in settings.store.addresses
    cassandra = compose()["services"]["cassandra"]["environment"]
    assert cassandra["CASSANDRA_CLUSTER_NAME"] == settings.cluster.name
    assert applied["replicas"].startswith(cassandra["CASSANDRA_DC"] + "=")


def split(command: list[str]) -> tuple[str, list[str]]:
    module, *words = command
    return module, words


def test_the_compose_file_names_nothing_that_is_not_there() -> None:
    whole = compose()
    for name, service in whole["services"].items():
        assert set(service.get("depends_on", ())) <= set(whole["services"]), name
        volumes = {each.partition(":")[0] for each in service.get("volumes", ())}
        assert volumes <= set(whole["volumes"]), name
        for config in service.get("configs", ()):
            assert config["source"] in whole["configs"], name
    for config in whole["configs"].values():
        assert (DEPLOY / config["file"]).is_file()
    build = ours()["schema"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_our_containers_may_do_little_and_have_time_to_stop() -> None:
    for name, service in ours().items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert int(service["stop_grace_period"].removesuffix("s")) * 1_000 > longest_drain_ms()


def test_no_secret_has_a_value_and_every_image_a_version() -> None:
    assert "${TIMEBALL_ACCESS_PEPPER:?" in COMPOSE.read_text()
    for service in compose()["services"].values():
        assert_image(service["image"])


def assert_image(image: str) -> None:
    """A name with a version, from whatever registry the machine uses."""
    name, _, tag = image.partition(":")
    assert tag not in ("", "latest"), image
    assert "." not in name.partition("/")[0], image


def longest_drain_ms() -> int:
    (drain_ms,) = [each.default for each in executor_command.params if each.name == "drain_ms"]
    return max(DRAIN_MS, NodeSettings().drain_ms, int(str(drain_ms)))


# -- the image


def instructions() -> list[dict[str, Any]]:
    with (DEPLOY / "Dockerfile").open("rb") as file:
        found: list[dict[str, Any]] = DockerfileParser(fileobj=file).structure
    return [each for each in found if each["instruction"] != "COMMENT"]


def values(name: str) -> list[str]:
    return [each["value"] for each in instructions() if each["instruction"] == name]


def test_the_image_is_built_from_what_is_there_and_locked() -> None:
    assert instructions()[0]["instruction"] == "FROM"
    for value in values("FROM"):
        assert_image(value.split()[0])
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for value in values("COPY"):
        if value.startswith("--from="):
            continue
        *sources, _ = value.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored
    assert values("ADD") == []
    installs = [value for value in values("RUN") if "pip install" in value]
    assert all("--require-hashes" in each or "--no-deps" in each for each in installs)
    assert len(installs) == 2


def test_the_image_runs_modules_and_not_as_root() -> None:
    last_stage = instructions()[
        max(index for index, each in enumerate(instructions()) if each["instruction"] == "FROM") :
    ]
    order = [each["instruction"] for each in last_stage]
    assert order.index("USER") < order.index("ENTRYPOINT")
    assert values("USER")[-1] not in ("root", "0")
    assert values("ENTRYPOINT") == [f'["{PYTHON}", "-m"]']
    assert values("STOPSIGNAL") == ["SIGTERM"]


# -- units

RULES = {
    "Type": {"exec"},
    "Restart": {"on-failure"},
    "RestartPreventExitStatus": {"2"},
    "KillSignal": {"SIGTERM"},
    "DynamicUser": {"yes"},
    "NoNewPrivileges": {"yes"},
    "ProtectSystem": {"strict"},
    "ProtectHome": {"yes"},
    "PrivateTmp": {"yes"},
    "PrivateDevices": {"yes"},
    "ProtectKernelModules": {"yes"},
    "ProtectKernelTunables": {"yes"},
    "ProtectControlGroups": {"yes"},
    "RestrictSUIDSGID": {"yes"},
    "RestrictNamespaces": {"yes"},
    "LockPersonality": {"yes"},
    "CapabilityBoundingSet": {""},
    "RestrictAddressFamilies": {"AF_INET AF_INET6"},
}
KNOWN_SECTIONS = {"Unit", "Service", "Install"}


def unit(path: Path) -> Unit:
    """Section, key and value of every line; a key may come more than once."""
    section, found = "", []
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            found.append((section, key, value))
    return found


def service(path: Path) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for section, key, value in unit(path):
        if section == "Service":
            found.setdefault(key, []).append(value)
    return found


def each_unit(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", UNITS, ids=each_unit)
def test_a_unit_keeps_the_rules(path: Path) -> None:
    assert {section for section, _, _ in unit(path)} == KNOWN_SECTIONS
    found = service(path)
    broken = {key: found.get(key) for key, wanted in RULES.items() if found.get(key) != [*wanted]}
    assert broken == {}
    assert int(found["TimeoutStopSec"][0]) * 1_000 > longest_drain_ms()
    assert int(found["LimitNOFILE"][0]) >= 65_536


@pytest.mark.parametrize("path", UNITS, ids=each_unit)
def test_a_units_command_is_understood(path: Path) -> None:
    line = service(path)["ExecStart"][0]
    line = line.replace("%l", "north").replace("%i", "mail").replace("${STATE_DIRECTORY}", "/tmp")
    assert "%" not in line
    program, dash_m, module, *words = shlex.split(line)
    assert (program, dash_m) == (PYTHON, "-m")
    settings = checked(module, words)
    assert (settings is None) == (module == "executor_node")


def test_there_is_a_unit_for_each_kind_of_process() -> None:
    assert [path.stem for path in UNITS] == [
        "timeball-coordinator",
        "timeball-executor@",
        "timeball-scheduler",
    ]


@pytest.fixture
def installed(tmp_path: Path) -> list[str]:
    """The units with a program that this machine has."""
    found = []
    for path in UNITS:
        copy = tmp_path / path.name
        copy.write_text(re.sub(re.escape(PYTHON), sys.executable, path.read_text()))
        found.append(str(copy))
    return found


def test_systemd_itself_accepts_the_units_where_it_is_installed(installed: list[str]) -> None:
    """Elsewhere the rules above are all there is; the prerequisites say so."""
    verify = shutil.which("systemd-analyze") or shutil.which("true") or "true"
    done = subprocess.run(
        [verify, "verify", "--man=no", *installed], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

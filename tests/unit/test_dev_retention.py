"""How long `timeball dev` keeps what has ended: as a cluster would, or as its flag says."""

from __future__ import annotations

from dataclasses import replace
from typing import get_type_hints

import click
import pytest
from click.testing import CliRunner

from timeball_server.cli.dev import command
from timeball_server.core.engine.state import EngineConfig
from timeball_server.core.retention import HOUR_MS
from timeball_server.dev.wiring import DevConfig, engine_config
from timeball_server.runtime.settings import RetentionSettings

CONFIG = DevConfig(listen="127.0.0.1:0", data=None, slots=1, start_log=None, version="1")


def test_it_is_a_cluster_s_default_unless_said_otherwise() -> None:
    assert engine_config(CONFIG).retention_ms == EngineConfig().retention_ms
    said = replace(CONFIG, retention_hours=24)
    assert engine_config(said).retention_ms == 24 * HOUR_MS


def test_the_flag_allows_what_the_setting_allows() -> None:
    hints = get_type_hints(RetentionSettings, include_extras=True)["ended_hours"]
    (bounds,) = hints.__metadata__
    (option,) = [each for each in command.params if each.name == "retention_hours"]
    assert isinstance(option.type, click.IntRange)
    assert (bounds.ge, bounds.le) == (option.type.min, option.type.max) == (24, 24 * 366 * 5)
    assert option.get_default(command.make_context("dev", [])) == RetentionSettings().ended_hours


@pytest.mark.parametrize("hours", ["23", "a week"])
def test_less_than_a_day_is_refused_before_anything_starts(hours: str) -> None:
    outcome = CliRunner().invoke(command, ["--retention-hours", hours])
    assert outcome.exit_code == 2
    assert "--retention-hours" in outcome.stderr

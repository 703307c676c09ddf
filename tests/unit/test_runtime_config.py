"""Settings: which source wins, and every problem at once."""

from dataclasses import dataclass, field

import pytest
from timeball.errors import Violation

from timeball_server.runtime.config import (
    InvalidConfiguration,
    Sources,
    describe,
    load,
    validate,
)
from timeball_server.runtime.settings import (
    CoordinationKind,
    CoordinationSettings,
    ListenSettings,
    LogLevel,
    NodeSettings,
    StoreKind,
    StoreSettings,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllSettings:
    node: NodeSettings = field(default_factory=NodeSettings)
    listen: ListenSettings = field(default_factory=ListenSettings)
    coordination: CoordinationSettings = field(default_factory=CoordinationSettings)
    store: StoreSettings = field(default_factory=StoreSettings)


def problems_of(sources: Sources) -> list[Violation]:
    with pytest.raises(InvalidConfiguration) as caught:
        load(AllSettings, sources)
    return list(caught.value.violations)


def test_without_sources_there_are_valid_defaults() -> None:
    settings = load(AllSettings, Sources())
    assert settings == AllSettings()
    assert validate(settings) == ()


def test_later_sources_win() -> None:
    file = "[listen]\nport = 1\n[node]\ndrain_ms = 1\nlog_level = 'error'\n"
    environment = {"TIMEBALL_LISTEN_PORT": "2", "TIMEBALL_NODE_DRAIN_MS": "2", "HOME": "/"}
    flags = {"listen.port": "3"}
    settings = load(AllSettings, Sources(toml=file, environment=environment, flags=flags))
    assert (settings.listen.port, settings.node.drain_ms) == (3, 2)
    assert settings.node.log_level is LogLevel.ERROR


def test_text_becomes_every_type_that_settings_have() -> None:
    environment = {
        "TIMEBALL_NODE_LOG_JSON": "true",
        "TIMEBALL_NODE_NAME": "node-a",
        "TIMEBALL_COORDINATION_KIND": "zookeeper",
        "TIMEBALL_COORDINATION_ADDRESSES": "a:2181, b:2181",
    }
    settings = load(AllSettings, Sources(environment=environment))
    assert settings.node.log_json is True
    assert settings.node.name == "node-a"
    assert settings.coordination.kind is CoordinationKind.ZOOKEEPER
    assert settings.coordination.addresses == ("a:2181", "b:2181")


def test_every_problem_of_every_source_is_reported_at_once() -> None:
    found = problems_of(
        Sources(
            toml="[node]\ndrain_ms = -1\nlog_jsn = true\n[coordination]\naddresses = ['nowhere']",
            environment={"TIMEBALL_LISTEN_PORT": "http", "TIMEBALL_STORE_KIND": "paper"},
            flags={"listen.hots": "x", "node.name": "Not A Name"},
        )
    )
    assert [each.field for each in found] == [
        "node.drain_ms",
        "node.log_jsn",
        "coordination.addresses",
        "listen.port",
        "store.kind",
        "listen.hots",
        "node.name",
    ]
    assert all(each.description for each in found)


def test_a_problem_says_where_it_was_found_and_what_the_setting_is() -> None:
    (problem,) = problems_of(Sources(environment={"TIMEBALL_LISTEN_PORT": "70000"}))
    assert "TIMEBALL_LISTEN_PORT" in problem.description
    assert "65535" in problem.description
    assert "port to listen on" in problem.description


def test_a_wrong_name_is_answered_with_the_nearest_right_one() -> None:
    (in_file,) = problems_of(Sources(toml="[listen]\nprot = 1"))
    assert "did you mean listen.port?" in in_file.description
    (variable,) = problems_of(Sources(environment={"TIMEBALL_LISTEN_PROT": "1"}))
    assert "did you mean TIMEBALL_LISTEN_PORT?" in variable.description


def test_variables_of_other_programs_are_left_alone() -> None:
    environment = {"TIMEBALL_API_KEY": "of the SDK", "LISTEN_PORT": "x"}
    assert load(AllSettings, Sources(environment=environment)) == AllSettings()


def test_rules_across_settings_are_checked() -> None:
    found = problems_of(
        Sources(
            flags={"coordination.kind": "zookeeper", "store.kind": "cassandra", "store.path": ""}
        )
    )
    assert [each.field for each in found] == ["coordination.addresses", "store.addresses"]
    assert problems_of(Sources(flags={"store.path": ""}))[0].field == "store.path"


@pytest.mark.parametrize(
    ("toml", "field_name"), [("port = 1", "port"), ("[listen\n", "file"), ("[x]\ny = 1", "x.y")]
)
def test_a_broken_file_is_a_problem_and_not_a_crash(toml: str, field_name: str) -> None:
    assert [each.field for each in problems_of(Sources(toml=toml))] == [field_name]


def test_settings_made_in_code_are_validated_too() -> None:
    wrong = AllSettings(listen=ListenSettings(port=-1), store=StoreSettings(path=""))
    assert [each.field for each in validate(wrong)] == ["listen.port", "store.path"]
    assert validate(AllSettings(store=StoreSettings(kind=StoreKind.MEMORY, path=""))) == ()


def test_every_setting_is_described() -> None:
    settings = list(describe(AllSettings))
    assert [each.path for each in settings][:2] == ["node.name", "node.drain_ms"]
    assert settings[1].variable == "TIMEBALL_NODE_DRAIN_MS"
    assert all(each.text for each in settings)

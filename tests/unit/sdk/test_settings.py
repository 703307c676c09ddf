from __future__ import annotations

import pytest
from timeball.errors import InvalidRequest
from timeball.settings import DEFAULT_ADDRESS, resolve

ENVIRONMENT = {
    "TIMEBALL_ADDRESS": "env:1",
    "TIMEBALL_API_KEY": "env-key",
    "TIMEBALL_NAMESPACE": "env-space",
}


def test_explicit_wins_over_environment_wins_over_default() -> None:
    explicit = resolve(address="mine:2", api_key="k", namespace="n", environment=ENVIRONMENT)
    assert (explicit.address, explicit.api_key, explicit.namespace) == ("mine:2", "k", "n")
    found = resolve(environment=ENVIRONMENT)
    assert (found.address, found.api_key, found.namespace) == ("env:1", "env-key", "env-space")
    default = resolve(environment={})
    assert (default.address, default.api_key) == (DEFAULT_ADDRESS, None)
    assert default.parent == "namespaces/-"


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("localhost:7466", "localhost:7466"),
        ("10.0.0.1:1,10.0.0.2:2", "ipv4:10.0.0.1:1,10.0.0.2:2"),
        ("[::1]:1, [::2]:2", "ipv6:[::1]:1,[::2]:2"),
        ("dns:///service:1", "dns:///service:1"),
        ("unix:/run/timeball", "unix:/run/timeball"),
    ],
)
def test_targets(address: str, target: str) -> None:
    assert resolve(address=address, environment={}).target == target


@pytest.mark.parametrize(
    "address",
    [
        *("http://a:1", "host", "host:", ":1", "host:0", "host:70000", "::1:1", "h:x"),
        *("a:1,b:2", "1.1.1.1:1,,", "1.1.1.1:1,[::1]:1"),
    ],
)
def test_addresses_that_cannot_be_meant(address: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(address=address, environment={})
    assert {each.field for each in caught.value.violations} == {"address"}


def test_every_problem_is_named_at_once_and_the_key_is_never_shown() -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(address="x", namespace="Upper", api_key="two words", environment={})
    assert [v.field for v in caught.value.violations] == ["address", "namespace", "api_key"]
    assert "two words" not in caught.value.message
    assert "secret" not in repr(resolve(api_key="secret", environment={}))

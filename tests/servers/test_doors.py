"""The HTTP doors of processes of their own: JSON, metrics and the console, on real servers."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support import dev_tasks
from tests.support.polls import until
from tests.support.servers.cassandra_nodes import CassandraCluster
from tests.support.servers.small_cluster import small_cluster
from tests.support.servers.zookeeper_nodes import ZooKeeperCluster

pytestmark = pytest.mark.timeout(240)
DEADLINE_S = 20
Pages = Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory,
    cassandra_own: CassandraCluster,
    zookeeper_own: ZooKeeperCluster,
) -> Iterator[Pages]:
    """What the processes of a small cluster show, by their names."""
    folder = tmp_path_factory.mktemp("doors") / "cluster"
    with small_cluster(folder, cassandra_own, zookeeper_own) as running:
        yield running.pages


def ask(url: str, body: object = None) -> Any:
    """The JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return json.load(answer)


def picture(console: str) -> Any:
    """The console's first picture."""
    with urllib.request.urlopen(f"{console}/stream", timeout=DEADLINE_S) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                return json.loads(line.removeprefix(b"data: "))
    raise AssertionError("the stream ended without a picture")


def figure(url: str, name: str) -> float | None:
    """A sample of a metrics page, None while it is not there."""
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        lines = answer.read().decode().splitlines()
    found = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")]
    return float(found[0]) if found else None


def test_a_task_over_http_shows_in_the_console_and_in_the_metrics(pages: Pages) -> None:
    console = pages["coordinator-1"]["console"]
    root = console.removesuffix("/console")
    argument = base64.b64encode(b'{"value": "x"}').decode()
    task = {
        "handler": dev_tasks.echo.name,
        "payload": {"contentType": "application/json", "data": argument},
    }
    made = ask(f"{root}/v1/namespaces/-/tasks", task)
    assert ask(f"{root}/v1/{made['name']}:wait?timeout=20s")["done"] is True

    def shown() -> Any:
        now = picture(console)["picture"]
        return now if now["last_minute"]["starts"] else None

    now = until(shown, "the console shows the start")
    assert now["about"]["store"] == "cassandra"
    assert [each["owner"] for each in now["shards"]] == ["scheduler-1"] * 4
    assert {each["phase"] for each in now["shards"]} == {"SERVING"}
    assert [each["leader"] for each in now["coordinators"]] == [True]
    assert now["executors"][0]["strength"] == 5
    assert now["executors"][0]["streams"] == [["scheduler-1", "ready"]]
    lateness = "timeball_start_lateness_seconds_count"
    assert figure(pages["scheduler-1"]["metrics"], lateness) == 1
    assert figure(pages["scheduler-1"]["metrics"], "timeball_shards_owned") == 4
    coordinator = pages["coordinator-1"]["metrics"]
    until(lambda: figure(coordinator, "timeball_console_viewers") == 0, "nobody watches")
    with urllib.request.urlopen(console, timeout=DEADLINE_S) as page:
        assert "default-src 'none'" in page.headers["content-security-policy"]

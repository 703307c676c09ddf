"""What a process expects of its cluster, compared with what stands in the database at start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timeball.errors import FailedPrecondition

from timeball_server.store.cassandra.config import Expected
from timeball_server.store.cassandra.migrations import Facts, read_facts


def check_expected(cluster: Any, driver: Any, keyspace: str, expected: Expected) -> None:
    """Compare; changes nothing.

    Raises:
        FailedPrecondition: something differs; the sentence names every difference.
    """
    if expected.is_anything:
        return
    facts = read_facts(driver, keyspace)
    found = differences(expected, str(cluster.metadata.cluster_name), facts)
    if found:
        raise FailedPrecondition(
            f"This is another cluster than the settings say: {'; '.join(found)}. Correct the "
            "section [cluster], or the addresses and the keyspace in [store]."
        )


def differences(expected: Expected, cluster_name: str, facts: Facts) -> list[str]:
    """One sentence part for each fact that is not as expected."""
    found = []
    if expected.cluster_name not in ("", cluster_name):
        found.append(f"the database is {cluster_name!r}, not {expected.cluster_name!r}")
    if expected.shard_count not in (0, facts.shard_count):
        found.append(f"it has {facts.shard_count} shards, not {expected.shard_count}")
    copies = {key: text for key, text in (facts.replication or {}).items() if key != "class"}
    wanted = {name: str(count) for name, count in expected.replicas.items()}
    if wanted and wanted != copies:
        found.append(f"the keyspace has copies {_words(copies)}, not {_words(wanted)}")
    return found


def _words(copies: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={count}" for name, count in sorted(copies.items())) or "none"

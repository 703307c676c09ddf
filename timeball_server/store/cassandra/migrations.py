"""What a keyspace has and what it lacks: numbered files, their checksums, the cluster's facts.

Pure decisions over one reading of the database; applying.py carries them out. An applied file never
changes: a schema is corrected by a further file. Files can be repeated (IF NOT EXISTS), because a
change of schema is not a transaction and may stop half-way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from cassandra import InvalidRequest
from timeball.errors import FailedPrecondition

from timeball_server.store.cassandra.conditions import CLUSTER
from timeball_server.store.cassandra.statements import Level

APPLY = "Run `timeball schema apply`"


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Tells whether the file is the one that was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> tuple[str, ...]:
        """The file's statements, without comments."""
        bare = re.sub(r"--[^\n]*", "", self.text)
        return tuple(part.strip() for part in bare.split(";") if part.strip())


def packaged_migrations() -> list[Migration]:
    """The files that this version brings along, in order."""
    folder = files("timeball_server.store.cassandra") / "schema"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".cql"))
    return [Migration(int(name[:4]), name, (folder / name).read_text("utf-8")) for name in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What stands in the database. `replication` is None without a keyspace."""

    replication: Mapping[str, str] | None = None
    checksums: Mapping[int, str] | None = None
    shard_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the operator says of a new cluster; None = whatever stands there.

    `replicas` maps data centers to copies. `shard_count` is fixed by the first apply.
    """

    replicas: Mapping[str, int] | None = None
    shard_count: int | None = None

    @property
    def replication(self) -> dict[str, str]:
        """As Cassandra describes it."""
        counts = {name: str(count) for name, count in (self.replicas or {}).items()}
        return {"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", **counts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What apply would do, in this order."""

    keyspace: Mapping[str, str] | None
    migrations: tuple[Migration, ...]
    shard_count: int | None

    @property
    def lines(self) -> list[str]:
        """For people; empty when nothing is to be done."""
        found = []
        if self.keyspace is not None:
            copies = {key: value for key, value in self.keyspace.items() if key != "class"}
            found.append(f"create the keyspace, copies by data center: {copies}")
        found += [
            f"apply {each.name}: {len(each.statements)} statements" for each in self.migrations
        ]
        if self.shard_count is not None:
            found.append(f"fix the number of shards: {self.shard_count}")
        return found


def plan(facts: Facts, wishes: Wishes, migrations: Sequence[Migration]) -> Plan:
    """Decide what is missing.

    Raises:
        FailedPrecondition: the database is newer than this program, an applied file was changed,
            a cluster fact differs, or a new cluster lacks one.
    """
    applied = facts.checksums or {}
    check_files(applied, migrations)
    return Plan(
        keyspace=_keyspace(facts, wishes),
        migrations=tuple(each for each in migrations if each.version not in applied),
        shard_count=_shard_count(facts, wishes),
    )


def check_files(applied: Mapping[int, str], migrations: Sequence[Migration]) -> None:
    """Refuse files that the database has in another form, or that this program does not know.

    Raises:
        FailedPrecondition: with what to do.
    """
    known = {each.version: each for each in migrations}
    newest = max(known, default=0)
    for version, checksum in sorted(applied.items()):
        if version > newest:
            raise FailedPrecondition(
                f"The database has schema version {version}, this program knows up to {newest}. "
                "Install the newer program."
            )
        if version not in known or known[version].checksum != checksum:
            raise FailedPrecondition(
                f"Schema file {version} was changed after it was applied to this database. "
                "Restore the file as it was released; corrections belong into a new file."
            )


def check_schema(driver: Any, keyspace: str) -> None:
    """Refuse to work on a schema that is not this version's; changes nothing.

    Raises:
        FailedPrecondition: files are missing, changed, or newer.
    """
    applied = read_checksums(driver, keyspace)
    migrations = packaged_migrations()
    check_files(applied, migrations)
    missing = [each.name for each in migrations if each.version not in applied]
    if missing:
        raise FailedPrecondition(
            f"The keyspace {keyspace} lacks {', '.join(missing)}. {APPLY}; nodes never do."
        )


def read_checksums(driver: Any, keyspace: str) -> dict[int, str]:
    """Checksums of the applied files by version, empty before the first."""
    text = f"SELECT version, checksum FROM {keyspace}.schema_versions WHERE cluster = %s"
    return dict(rows_of(driver, text, (CLUSTER,)))


def read_facts(driver: Any, keyspace: str) -> Facts:
    """One reading of the database."""
    text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s"
    found = driver.execute(text, (keyspace,), execution_profile=Level.PLAIN.value).all()
    if not found:
        return Facts()
    text = f"SELECT shard_count FROM {keyspace}.layout WHERE cluster = %s"
    counts = rows_of(driver, text, (CLUSTER,))
    return Facts(
        replication=dict(found[0][0]),
        checksums=read_checksums(driver, keyspace),
        shard_count=counts[0][0] if counts else None,
    )


def rows_of(driver: Any, text: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
    """Rows of a serial read, none when there is no such table yet."""
    try:
        return list(driver.execute(text, values, execution_profile=Level.SERIAL.value))
    except InvalidRequest as error:
        if "does not exist" in str(error) or "unconfigured table" in str(error):
            return []
        raise


def _keyspace(facts: Facts, wishes: Wishes) -> Mapping[str, str] | None:
    if facts.replication is None:
        if not wishes.replicas:
            raise FailedPrecondition(
                "There is no such keyspace yet. Say how many copies each data center holds, "
                "for example `--replicas datacenter1=3`."
            )
        return wishes.replication
    if wishes.replicas and dict(facts.replication) != wishes.replication:
        raise FailedPrecondition(
            f"The keyspace has replication {dict(facts.replication)}. Changing it takes ALTER "
            "KEYSPACE and a repair of every node; leave `--replicas` out here."
        )
    return None


def _shard_count(facts: Facts, wishes: Wishes) -> int | None:
    if facts.shard_count is None:
        if wishes.shard_count is None:
            raise FailedPrecondition(
                "The cluster has no number of shards yet. Choose it once with `--shards`: about "
                "eight for each scheduler node that it will ever have, for example 64."
            )
        return wishes.shard_count
    if wishes.shard_count not in (None, facts.shard_count):
        raise FailedPrecondition(
            f"This cluster was made with {facts.shard_count} shards; ids name them for ever. "
            "Leave `--shards` out."
        )
    return None

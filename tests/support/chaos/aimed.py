"""Aimed kills from beginning to end: play some rounds, let everything end, judge, keep, go on.

A line of JSON for each round is appended to the file that was asked for, so that a run that was
interrupted goes on where it stopped: only rounds whose point was hit count.
"""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import timeball

from tests.support.chaos.campaign import Campaign, Load, Round
from tests.support.chaos.faults import whole
from tests.support.chaos.helpers import Complaints
from tests.support.chaos.points import Point, plan
from tests.support.chaos.records import FINAL, Event, Evidence, Recorder, head_of
from tests.support.chaos.testimony import told_by
from tests.support.chaos.trial import Finding, Trial
from tests.support.chaos.wired import WiredCluster, wired_cluster
from tests.support.checker.judge import judge
from tests.support.polls import moment, mono_s, wall_ms
from tools.local_cluster import coordinators

END_WITHIN_S: Final = 60.0
LOOK_S: Final = 1.0
FAILURES_ALLOWED: Final = 5
"""Rounds that could not be played at all, for example because nobody answers."""
MISSES_ALLOWED: Final = 6
"""In a row at one point; then it is given up and said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How to play: `leg` rounds between two judgements, `keep` gets a line for each round."""

    rate: float
    leg: int = 8
    seed: int = 0
    keep: Path | None = None


class Session:
    """One cluster, its load, and rounds on it."""

    def __init__(self, cluster: WiredCluster, wanted: Wanted) -> None:
        self._cluster = cluster
        self._leg = wanted.leg
        self._rate = wanted.rate
        self._keep = wanted.keep
        self._random = Random(f"{wanted.seed} {wall_ms()}")
        self._recorder = Recorder(cluster.places.folder, cluster.cassandra)
        self._complaints = Complaints(cluster.places.logs)
        self._missed: Counter[str] = Counter()

    async def run(self, points: Sequence[Point]) -> list[Finding]:
        """Play these points; those that were missed again at the end, but not for ever."""
        found: list[Finding] = []
        failures = 0
        owed = list(points)
        async with timeball.AsyncClient(coordinators(self._cluster.addresses)) as client:
            await whole(self._cluster, client)
            load = Load(self._cluster, self._rate)
            campaign = Campaign(self._cluster, client, load, self._random)
            while owed:
                leg, owed = owed[: self._leg], owed[self._leg :]
                rounds = await self._leg_of(campaign, leg)
                findings = await self._judged(rounds, load) if rounds else []
                found += findings
                missed = [x.point for x in findings if x.hit]
                owed += [point for point in leg[: len(rounds)] if self._again(point, missed)]
                owed += leg[len(rounds) :]
                if len(rounds) < len(leg) and (failures := failures + 1) > FAILURES_ALLOWED:
                    break
            load.tell("stop")
            await asyncio.to_thread(load.end)
            self._say_costs(load)
        return found

    async def _leg_of(self, campaign: Campaign, points: Sequence[Point]) -> list[Round]:
        """Rounds up to the first that could not be played; they are judged all the same."""
        rounds: list[Round] = []
        for point in points:
            try:
                rounds.append(await self._round(campaign, point))
            except (AssertionError, timeball.errors.TimeballError, SystemExit) as error:
                print(f"{point.name} could not be played: {error!r}"[:1000], flush=True)
                break
        return rounds

    async def _round(self, campaign: Campaign, point: Point) -> Round:
        round_ = await campaign.play(point)
        took_ms = round_.ended_ms - round_.began_ms
        what = "killed" if round_.killed_ms else "not reached"
        print(
            f"round {round_.number} {point.name} {round_.victim} {what}, whole again"
            f" {took_ms} ms after it began{'' if round_.calm else ', was not calm'}"
            f"{'' if round_.balanced else ', moves go on'}",
            flush=True,
        )
        return round_

    def _again(self, point: Point, missed: list[str]) -> bool:
        """Whether a point that was not hit is tried again; takes it off the list."""
        if point.name not in missed:
            self._missed[point.name] = 0
            return False
        missed.remove(point.name)
        self._missed[point.name] += 1
        if self._missed[point.name] <= MISSES_ALLOWED:
            return True
        print(f"given up: {point.name} was missed too often", flush=True)
        return False

    async def _judged(self, rounds: Sequence[Round], load: Load) -> list[Finding]:
        """Let everything come to its end and judge."""
        if not await load.quiet(END_WITHIN_S):
            print(f"the load has no answers: {load.last}", flush=True)
        evidence, begun_s = Evidence(), mono_s()
        await self._await_ends(evidence)
        findings = Trial(rounds, evidence).findings()
        print(f"judged {len(evidence.acks)} tasks in {mono_s() - begun_s:.1f} s", flush=True)
        violations = [f"by its history: {each}" for each in judge(told_by(rounds, evidence))]
        violations += self._complaints.new()
        if findings and violations:
            findings[0] = replace(findings[0], problems=(*findings[0].problems, *violations))
        for round_, finding in zip(rounds, findings, strict=True):
            self._tell(round_, finding)
        load.tell("go")
        return findings

    async def _await_ends(self, evidence: Evidence) -> None:
        """Read until every acknowledged task has ended, or for END_WITHIN_S."""
        end_s = mono_s() + END_WITHIN_S
        self._recorder.read_files(evidence)
        open_ = {ack.task_id for ack in evidence.acks} | evidence.starts.keys()
        while open_ and mono_s() < end_s:
            await moment(LOOK_S)
            self._recorder.read_files(evidence)
            await asyncio.to_thread(self._recorder.read_journals, evidence, open_)
            open_ = {task for task in open_ if not _ended(evidence.journals.get(task, []))}
        # What ended while it was looked for may have been written to a file a moment later.
        self._recorder.read_files(evidence)

    def _tell(self, round_: Round, finding: Finding) -> None:
        facts: dict[str, Any] = {**asdict(finding), "rate": self._rate, "shot": round_.shot}
        problems = facts["problems"]
        shown = ("point", "victim", "acknowledged", "resent", "refused", "lost", "started_twice")
        words = " ".join(f"{name}={facts[name]}" for name in shown)
        slowest = max(finding.failover_ms, default=0)
        hit = finding.hit or "HIT"
        print(f"  {hit}: {words} once_lost={facts['once_lost']} failover<={slowest}", flush=True)
        for problem in problems[:5]:
            print(f"    PROBLEM {problem[:1500]}", flush=True)
        if self._keep is not None:
            with self._keep.open("a") as kept:
                kept.write(
                    json.dumps({**facts, "delay_ms": round_.delay_ms, "balanced": round_.balanced})
                    + "\n"
                )

    def _say_costs(self, load: Load) -> None:
        last = load.look()
        if last.get("answered"):
            cost_us = 1e6 * last["cpu_s"] / last["answered"]
            wires_us = 1e6 * self._cluster.wires_cpu_s() / last["answered"]
            print(f"CPU of the load {cost_us:.0f}, of the wires {wires_us:.0f} us for each task")


def _ended(journal: Sequence[Event]) -> bool:
    head = head_of(journal)
    return head is not None and head.state in FINAL


def hits(keep: Path | None, rate: float) -> dict[str, int]:
    """Rounds by point that an earlier run has kept, at this rate, their point hit."""
    if keep is None or not keep.exists():
        return {}
    lines = (json.loads(line) for line in keep.read_text().splitlines())
    return Counter(x["point"] for x in lines if not x["hit"] and x["rate"] == rate)


def play_aimed(parsed: Namespace, folder: Path) -> int:
    """Play what is still owed; the exit code is 1 when a promise was broken."""
    owed = plan(parsed.rounds, hits(parsed.keep, parsed.rate), tuple(parsed.groups or ()))
    print(f"{len(owed)} rounds to play", flush=True)
    if not owed:
        return 0
    with wired_cluster(folder) as cluster:
        wanted = Wanted(rate=parsed.rate, leg=parsed.leg, seed=parsed.seed, keep=parsed.keep)
        findings = asyncio.run(Session(cluster, wanted).run(owed))
    broken = sum(len(each.problems) for each in findings)
    short = len(owed) - sum(not each.hit for each in findings)
    print(f"{len(findings)} kills, {short} points not hit, {broken} broken promises", flush=True)
    return 1 if broken or short else 0

"""The rules of schedules as switches; see rules.py."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.support.sim.rewriting import Rewrite
from tests.support.sim.switches import ENGINE, Switch

SCHEDULE_RULES: Mapping[str, Switch] = MappingProxyType(
    {
        "S1": Switch(
            says="the id of a run depends on who launches it",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.occurrences",
                    "occurrence_id",
                    "unique_of_occurrence(task.task_id, nominal_ms)",
                    "unique_of_occurrence(task.task_id, nominal_ms * 1000 + "
                    "(task.head.epoch % 1000 if task.chain else 0))",
                ),
            ),
            breaks=("I6", "I1", "I11", "sanity"),
            nemesis="tick without its run",
            within=2,
            masked="S4: a run that the tick does not name is never adopted, under whatever id",
        ),
        "S2": Switch(
            says="the hint of the next tick is not written",
            rewrites=(
                Rewrite(f"{ENGINE}.ticking", "_hint", "row.alarm == task.hinted", "True"),
                Rewrite(f"{ENGINE}.ticking", "_hint_ahead", "following_ms is None or", "True or"),
            ),
            breaks=("I11",),
            nemesis="lost schedule",
            within=1,
        ),
        "S3": Switch(
            says="a new owner does not look for the run of an earlier one",
            rewrites=(Rewrite(f"{ENGINE}.settling", "settle", "if runs:", "if False:"),),
            breaks=("I1", "I6", "I11", "sanity"),
            nemesis="torn ticks",
            within=20,
        ),
        "S4": Switch(
            says="what is passed over after a take-over is not fenced off",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.occurrences",
                    "needs_fence",
                    "epoch != shard.epoch and standing in (Standing.ABSENT, Standing.VOID)",
                    "False",
                ),
            ),
            breaks=("I6",),
            nemesis="late tick",
            within=1,
        ),
        "S5": Switch(
            says="verdicts on what was passed over are not written before the tick",
            rewrites=(Rewrite(f"{ENGINE}.ticking", "after", "if not ahead:", "if True:"),),
            breaks=("I11", "I6"),
            nemesis="schedules",
            within=5,
        ),
        "S6": Switch(
            says="an end is acknowledged and the next tick still comes",
            rewrites=(
                Rewrite(
                    f"{ENGINE}.placing",
                    "place",
                    "task.state in CLOSED or task.state is State.ABSENT",
                    "(task.state in CLOSED and task.state is not State.ENDED) or "
                    "task.state is State.ABSENT",
                ),
            ),
            breaks=("I6", "I14", "sanity"),
            nemesis="schedules",
            within=5,
        ),
    }
)
"""By rule."""

SCHEDULE_BUGS: Mapping[str, Switch] = MappingProxyType(
    {
        "autumn hour twice": Switch(
            says="what is due once in an hour that clocks show twice fires in both passes",
            rewrites=(
                Rewrite(
                    "timeball_server.core.schedules.cron",
                    "ZonedCron.__init__",
                    "not fixed or rule.fold is FoldRule.BOTH",
                    "True",
                ),
            ),
            breaks=("I6",),
            nemesis="autumn",
            within=4,
        ),
        "runs of one schedule at once": Switch(
            says="a nominal time is launched though its schedule skips while a run is in hand",
            rewrites=(Rewrite(f"{ENGINE}.verdicts", "_skip", "not facts.runs", "True"),),
            breaks=("I7",),
            nemesis="autumn",
            within=5,
        ),
    }
)
"""Bugs that schedulers have had."""

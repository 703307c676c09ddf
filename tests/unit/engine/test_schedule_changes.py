"""Random lives of a schedule with users: one verdict for each nominal time of each version."""

from __future__ import annotations

import pytest

from tests.support.schedule_changes import ChangingModel

SEEDS = 240
GROUP = 40
STEPS = 30


def live(seed: int) -> None:
    """One life from its seed."""
    model = ChangingModel(seed)
    happened: list[str] = []
    try:
        for _ in range(STEPS):
            happened.append(model.act())
            model.check()
        model.check_all()
    except AssertionError as wrong:
        wrong.add_note(f"seed {seed}: {model.rule} {' '.join(happened)}")
        raise


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_every_nominal_time_of_every_version_has_one_verdict(first: int) -> None:
    for seed in range(first, first + GROUP):
        live(seed)

"""Random histories of one shard: whatever happens, what was promised holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.engine_model import Model

ACTIONS = (
    *("create", "create", "create", "again", "cancel", "cancel", "look", "terminate", "delete"),
    *("update", "update", "move", "move", "again_changed"),
    *("settle", "settle", "settle_all", "settle_all", "read_all", "read_all"),
    *("carry", "carry", "carry", "carry", "end", "end", "tick", "tick", "tick"),
    *("break_stream", "mend_streams", "join", "vanish", "take_over", "thaw"),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2_000)), min_size=5, max_size=60
)


@given(STEPS)
def test_whatever_happens_what_was_promised_holds(steps: list[tuple[str, int]]) -> None:
    model = Model()
    for action, choice in steps:
        getattr(model, action)(choice)
        model.check()
    model.heal()
    model.check_the_end()

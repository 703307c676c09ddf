"""Settings every test runs under; options live in pyproject.toml."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# The same examples on every run and no deadline: a failure here is never about the weather. The
# long setting only asks for more examples.
settings.register_profile(
    "timeball",
    derandomize=True,
    deadline=None,
    max_examples=int(os.environ.get("TIMEBALL_HYPOTHESIS_EXAMPLES", "100")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("timeball")

# Walks over millions of minutes: for the long settings only.
collect_ignore = (
    [] if os.environ.get("TIMEBALL_LONG") == "1" else ["unit/schedules/test_long_walks.py"]
)

"""A second opinion on when schedules fire, for audits and tests.

Owns a slow and plain reading of the rules: walk the instants one by one, ask zoneinfo what the
local clock shows, and look whether that matches. Shares no module with `core.schedules`, which it
judges, and must never import it: not its records, not its parser, not its zones. What both have to
agree on is written down in docs/guides/schedules.md and nowhere else.
"""

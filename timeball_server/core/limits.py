"""Every public limit, once, with its unit. What happens at a limit is tested where it is enforced.

The protos repeat some of these as annotations; a test holds the two together.
"""

from __future__ import annotations

from typing import Final

_MIB: Final = 1024 * 1024

MAX_PAYLOAD_BYTES: Final = _MIB
"""What a caller may hand to a handler. More is PAYLOAD_TOO_LARGE."""
MAX_INLINE_BYTES: Final = 8 * 1024
"""Payloads and results up to this size lie in the journal, bigger ones beside it."""
MAX_RESULT_BYTES: Final = _MIB
"""What a handler may return."""
MAX_CHECKPOINT_BYTES: Final = 32 * 1024
"""What a handler may leave for its task's next attempt."""
MAX_NOTE_CHARACTERS: Final = 500
"""What a handler may say of how far it has come."""
MAX_ARTIFACT_BYTES: Final = 8 * _MIB
"""One uploaded file."""
MAX_MESSAGE_BYTES: Final = 4 * _MIB
"""One message of the public API, either direction."""
MAX_INTERNAL_MESSAGE_BYTES: Final = 16 * _MIB
"""One message between our own services: headroom for a task at all its limits at once."""
MAX_BATCH_ITEMS: Final = 1_000
"""Tasks in one batch or chunk."""
MAX_BATCH_BYTES: Final = 3 * _MIB
"""Where we close a message that we fill ourselves."""
MAX_METADATA_BYTES: Final = 16 * 1024
"""Headers of one call."""
HORIZON_MS: Final = 5 * 365 * 86_400_000
"""How far ahead a due time may lie: five years of 365 days."""
MAX_ATTEMPTS: Final = 100
"""Attempts of one task, the first one included."""
MAX_LABELS: Final = 32
"""Labels of one task; also labels that it may ask for."""
MAX_PAGE_ITEMS: Final = 1_000
"""Items of one page; larger wishes are capped."""
MAX_NAME_CHARACTERS: Final = 200
"""Handlers, owners, resource names and label values."""
MAX_CRON_CHARACTERS: Final = 256
"""A cron expression."""
MIN_INTERVAL_MS: Final = 100
"""Shortest interval of a schedule, and shortest delay after completion."""
MAX_RULES: Final = 16
"""Crons and intervals of one schedule together."""
MAX_EXCLUSIONS: Final = 64
"""Spans, expressions and lists of dates that one schedule leaves out."""
MAX_EXCLUDED_DATES: Final = 1_000
"""Dates in all such lists of one schedule."""
MAX_SPREAD_MS: Final = 86_400_000
"""Jitter of a schedule, and its flexible window: a day each."""
MAX_EXCLUDED_IN_A_ROW: Final = 1_000
"""Nominal times of a schedule that exclusions may take out one after the other; then it ends."""
MAX_JOURNAL_EVENTS: Final = 500
"""Events of one task; the last ones are kept for completions."""
MAX_WAIT_MS: Final = 60_000
"""Longest wait of one WaitTask call; longer wishes are capped."""
MAX_PRIORITY: Final = 9
"""Most urgent; needs the operator role."""

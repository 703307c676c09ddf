"""What all records of a history have in common."""

from __future__ import annotations

import msgspec

NEVER_US = 2**62
"""When something that has not ended will end."""


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="is"):
    """Anything that a history holds."""

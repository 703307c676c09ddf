"""What a client says while it tries again: on the logger `timeball`, at INFO.

Silent unless somebody listens: an application by its own logging, the command line where a person
waits. Nothing is decided by it.
"""

from __future__ import annotations

import logging

from timeball.errors import TimeballError

LOGGER = logging.getLogger("timeball")


def trying_again(error: TimeballError) -> None:
    """A call or a stream is about to be made once more, because of this."""
    LOGGER.info("trying again: %s", error.message)

"""`python -m coordinator`: says how a coordinator runs today."""

from __future__ import annotations

import sys

from timeball_server.runtime.config import EXIT_INVALID_CONFIGURATION

SENTENCE = (
    "A coordinator in a process of its own needs a store and a coordination service that other "
    "processes reach too. This version has in-process coordination only: run `timeball dev`, "
    "which holds a coordinator, a scheduler node and an executor node.\n"
)

if __name__ == "__main__":
    sys.stderr.write(SENTENCE)
    sys.exit(EXIT_INVALID_CONFIGURATION)

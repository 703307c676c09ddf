"""Where the `timeball` program begins."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line and leaves with its exit code; see timeball.cli.failures."""
    try:
        from timeball.cli.root import root
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print("The command line needs an extra: pip install 'timeball[cli]'", file=sys.stderr)
        sys.exit(2)
    root.main(prog_name="timeball")

"""Where the `timeball` program begins."""

from __future__ import annotations

import sys
from typing import NoReturn

from timeball._version import __version__


def main() -> NoReturn:
    """Runs the command line and leaves with its exit code; see timeball.cli.failures."""
    if sys.argv[1:] == ["--version"]:  # needs nothing but the version, not even the extra
        print(f"timeball {__version__}")
        sys.exit(0)
    try:
        from timeball.cli.root import root
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print("The command line needs an extra: pip install 'timeball[cli]'", file=sys.stderr)
        sys.exit(2)
    root.main(prog_name="timeball")

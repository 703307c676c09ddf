"""`python -m timeball.cli`: the `timeball` program where no script is on the path."""

from __future__ import annotations

from timeball.cli.main import main

main()

"""Server commands that join the `timeball` command line."""

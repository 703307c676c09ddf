"""The `timeball` command line. Command modules are imported when they are run, not before."""

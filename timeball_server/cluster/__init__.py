"""A service as a process of its own: settings, adapters, start, signals, exit codes."""

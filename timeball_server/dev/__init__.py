"""Dev mode: all three services in one process on an SQLite file. Only its wiring names adapters."""

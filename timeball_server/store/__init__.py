"""Store adapters: memory, SQLite, Cassandra."""

"""The scheduler node service: owns shards, runs the engine, dispatches to executors."""

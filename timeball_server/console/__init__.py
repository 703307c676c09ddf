"""The console: one live, read-only page about the cluster, without a build step."""

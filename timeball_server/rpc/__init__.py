"""gRPC: status table, conversion, interceptors, server builder, transport adapters."""

"""The HTTP door: JSON in and out, carried out by gRPC's own servicers behind its own gate."""

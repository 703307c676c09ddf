"""The pure engine: decisions as functions of state, event and now. No I/O, clock or randomness."""

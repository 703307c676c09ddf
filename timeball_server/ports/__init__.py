"""Protocols between the core's shells and the world; each docstring is the contract."""

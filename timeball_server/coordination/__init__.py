"""Coordination adapters: in-process, remote membership, ZooKeeper."""

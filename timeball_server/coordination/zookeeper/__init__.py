"""Coordination on ZooKeeper. `open_session` in session.py is the way in; kazoo stays in here."""

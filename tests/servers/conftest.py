"""The tests here run where the server fixtures are loaded; the long ones in the long setting.

pytest -p tests.support.servers.fixtures tests/servers
"""

from __future__ import annotations

import os

LONG_ONLY = ["test_servers_of_three.py", "test_make_cluster.py", "test_guarded_cassandra.py"]
collect_ignore = [] if os.environ.get("TIMEBALL_LONG") == "1" else LONG_ONLY

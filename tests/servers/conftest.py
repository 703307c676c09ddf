"""The tests here run where the server fixtures are loaded; clusters of three in the long setting.

pytest -p tests.support.servers.fixtures tests/servers
"""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("TIMEBALL_LONG") == "1" else ["test_servers_of_three.py"]

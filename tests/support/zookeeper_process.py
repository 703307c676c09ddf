"""A process that owns a shard, to be stopped and continued from outside.

`python zookeeper_process.py HOST:PORT ROOT SESSION_TIMEOUT_MS` prints JSON lines: its epoch when
it owns, whether its lease holds when it is continued, and its state when that is final.
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.coordination_steps import SHARD, A, member
from timeball_server.coordination.zookeeper.options import ZooKeeperOptions
from timeball_server.coordination.zookeeper.session import open_session
from timeball_server.core.lease import lease_holds
from timeball_server.ports.coordination import SessionState
from timeball_server.runtime.clock import SystemClock

LOOK_MS = 20


def say(**fact: object) -> None:
    print(json.dumps(fact), flush=True)


async def main(hosts: str, root: str, session_timeout_ms: int) -> None:
    clock = SystemClock()
    options = ZooKeeperOptions(hosts=hosts, root=root, session_timeout_ms=session_timeout_ms)
    session = await open_session(options, clock)
    await session.join(member(A))
    continued = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGCONT, continued.set)
    say(epoch=await session.take_ownership(SHARD))
    await continued.wait()
    now_mono_ms = clock.now().mono_ms
    timeout_ms = session.session_timeout_ms
    say(lease_holds=lease_holds(session.proven_at_mono_ms(), timeout_ms, now_mono_ms))
    while session.state is not SessionState.LOST:
        await clock.sleep_ms(LOOK_MS)
    say(state=session.state)
    await session.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

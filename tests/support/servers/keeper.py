"""Runs one server and makes sure that it never outlives who asked for it.

A program of its own, standard library only: `python keeper.py COMMAND...`. It prints the server's
process id, then sends the server each signal whose number is a line of its input. When the input
ends, however the other side died, the server is killed: a stopped one too. When the keeper itself
is killed, the kernel kills the server. Only the server's parent may signal it, so that no signal
ever reaches a stranger that was given the same process id later.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1
SIGNALLED = 128


def die_with_parent() -> None:
    """Asks the kernel, where it can, to kill the new process when the keeper dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def obey(server: subprocess.Popen[bytes]) -> None:
    """Passes signals on until the input ends, then kills."""
    for line in sys.stdin:
        server.send_signal(int(line))
        print("sent", flush=True)
    server.kill()


def main() -> None:
    """Starts the server and waits for its end."""
    # The keeper has one thread until the server runs, so a function between fork and exec is safe.
    server = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        preexec_fn=die_with_parent,
    )
    print(server.pid, flush=True)
    threading.Thread(target=obey, args=(server,), daemon=True).start()
    code = server.wait()
    # Not sys.exit: the other thread holds the input, which an orderly end would wait for.
    os._exit(code if code >= 0 else SIGNALLED - code)


if __name__ == "__main__":
    main()

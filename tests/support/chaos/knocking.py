"""`python -m tests.support.chaos.knocking PORT HOST:PORT`: lives in a room and knocks at its walls.

Prints each datagram that comes in, and sends one out for each line of its input. With its input it
ends, and a network namespace that it alone holds ends with it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading

from tests.support.servers.addresses import parse

DATAGRAM_BYTES = 64


def main(port: str, outside: str) -> None:
    """Say that it is there, then listen and speak."""
    (there,) = parse(outside)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("", int(port)))
        threading.Thread(target=_listen, args=(door,), daemon=True).start()
        _tell(here=os.getpid())
        for line in sys.stdin:
            try:
                door.sendto(line.strip().encode(), (there.host, there.port))
            except OSError as error:  # no interface, no way there: also a wall
                _tell(wall=error.errno)


def _listen(door: socket.socket) -> None:
    while True:
        _tell(heard=int(door.recv(DATAGRAM_BYTES)))


def _tell(**facts: int | None) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

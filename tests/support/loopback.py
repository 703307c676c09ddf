"""A loopback interface of one's own: what goes over it is ours, every packet and every byte.

Where the system lets us, a command starts again in a network namespace in which nobody else listens
or talks. Where it does not, a benchmark's counts are those of the whole machine, and its page says
so; and no partitions are made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from typing import Final

VARIABLE: Final = "TIMEBALL_TEST_LOOPBACK"
READ_FLAGS, WRITE_FLAGS, UP = 0x8913, 0x8914, 1
ALONE: Final = ("unshare", "--map-root-user", "--net")


def is_own() -> bool:
    """Whether this process has an interface of its own."""
    return os.environ.get(VARIABLE) == "own"


def take_own() -> None:
    """Start this very command again in a namespace, once; returns inside it, or where it cannot."""
    if is_own():
        _raise()
    elif can_be_own():
        os.environ[VARIABLE] = "own"
        os.execvp(ALONE[0], [*ALONE, sys.executable, *sys.orig_argv[1:]])


def can_be_own() -> bool:
    """Whether the system gives out such namespaces."""
    if shutil.which(ALONE[0]) is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


def _raise() -> None:
    """Switch the interface on: a new one is off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = fcntl.ioctl(any_socket, READ_FLAGS, struct.pack("16sH14s", b"lo", 0, b""))
        flags = struct.unpack("16sH14s", request)[1]
        fcntl.ioctl(any_socket, WRITE_FLAGS, struct.pack("16sH14s", b"lo", flags | UP, b""))

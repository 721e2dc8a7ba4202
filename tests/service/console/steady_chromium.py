#!/usr/bin/env python3
"""Run Chromium so that it learns of no change of the machine's network interfaces.

Such a change (a container engine that starts a container, say) makes Chromium end every request under way
with ERR_NETWORK_CHANGED, even those to this very machine, and no flag keeps it from that. It hears of
changes through a netlink socket; where it cannot have one it goes without.
"""

import ctypes
import os
import platform
import shutil
import struct
import sys

SOCKET = {"x86_64": 41, "aarch64": 198}
"""Number of the system call `socket`."""
AF_NETLINK, EAFNOSUPPORT = 16, 97
LOAD, SKIP_UNLESS_EQUAL, RETURN = 0x20, 0x15, 0x06
"""Instructions of a seccomp filter."""
ALLOW, FAIL = 0x7FFF_0000, 0x0005_0000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


class Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def refuse_netlink(socket: int) -> None:
    """From here on this process and its children get EAFNOSUPPORT for a netlink socket."""
    instructions = (
        (LOAD, 0, 0, 0),  # the number of the system call
        (SKIP_UNLESS_EQUAL, 0, 3, socket),
        (LOAD, 0, 0, 16),  # its first argument
        (SKIP_UNLESS_EQUAL, 0, 1, AF_NETLINK),
        (RETURN, 0, 0, FAIL | EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
    program = Program(len(instructions), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)),
    ):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    if sys.platform == "linux" and platform.machine() in SOCKET:
        refuse_netlink(SOCKET[platform.machine()])
    chromium = shutil.which("chromium")
    assert chromium is not None
    os.execv(chromium, [chromium, *sys.argv[1:]])

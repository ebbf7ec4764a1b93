"""Closing a TCP listener without resetting a client that has just come through it.

Between a worker's last accept(2) and the close of the last copy of a listener, the kernel goes on
to complete handshakes: such clients are connected, may have sent their request, and are reset
by the close. So before that nobody new is let in: a filter on the socket drops what begins a
connection (SYN), while handshakes under way are completed and accepted. Who was dropped
tries again within a second, and is refused by then, or served by whoever has bound the address:
in neither case can a request be lost.

The filter belongs to the open socket, whoever else holds it: it is for sockets of our own that
are never used again, not for those of systemd.
"""

from __future__ import annotations

import ctypes
import socket
import sys
from contextlib import suppress
from typing import Final

_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_LOAD_BYTE, _AND, _JUMP_EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_FLAGS_AT: Final = 13
_SYN, _SYN_ACK = 0x02, 0x12
_ALL: Final = 0xFFFF_FFFF
_PROGRAM: Final = (
    (_LOAD_BYTE, 0, 0, _FLAGS_AT),
    (_AND, 0, 0, _SYN_ACK),
    (_JUMP_EQUAL, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, _ALL),
)


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def reject_new_connections(listener: socket.socket) -> None:
    """From now on no new connection begins; those that have begun are completed. Linux only."""
    if sys.platform != "linux" or listener.family == socket.AF_UNIX or listener.fileno() < 0:
        return
    instructions = (_Instruction * len(_PROGRAM))(*(_Instruction(*each) for each in _PROGRAM))
    program = _Program(len(_PROGRAM), instructions)
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
    except OSError:
        return  # a sandbox without it: then a client in that moment is reset, as by any other server


def let_in_again(listener: socket.socket) -> None:
    """Take the filter off, if there is one: the listener was to be closed, and came back from elsewhere."""
    if sys.platform == "linux" and listener.family != socket.AF_UNIX:
        with suppress(OSError):  # ENOENT: there is none
            listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)

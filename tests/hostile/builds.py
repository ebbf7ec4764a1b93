"""Builds of gwctl that trust their workers in one thing: each must score, or the zeros prove nothing."""

from __future__ import annotations

from typing import Final

_MAIN: Final = "\nfrom gwctl.cli import main\nmain()\n"

BROKEN: Final = {
    # What all have mapped can be cut off: the master dies of SIGBUS.
    "unsealed": """
from gwctl import sealed_files

sealed_files.seal = lambda fd, more=0: None
sealed_files.is_sealed = lambda fd: True
""",
    # The master takes the descriptors that it is sent, and has none left some day.
    "takes-descriptors": """
from gwctl.ipc.channel import Channel

make = Channel.__init__

def make_and_take(self, sock, *, takes_fds=True):
    make(self, sock, takes_fds=True)

Channel.__init__ = make_and_take
""",
    # A line may be of any length.
    "reads-on": """
from gwctl.ipc import channel

channel.LINE_BYTES_MAX = 1 << 60
""",
}
ATTACKS: Final = {
    "unsealed": "truncate",
    "takes-descriptors": "many_descriptors",
    "reads-on": "no_line",
}
"""What shows it."""


def script(name: str) -> str:
    return BROKEN[name] + _MAIN

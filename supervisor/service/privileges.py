"""``master.privileges = "least"``: the master gives up what it does not need, and so does all that it starts.

How it works
    - PR_SET_NO_NEW_PRIVS: no program that is executed from here on gains rights by setuid, setgid or
      file capabilities, whoever executes it. It can be undone by nobody, and lasts over an upgrade.
    - Capabilities that are not in `KEPT` leave the bounding set, so that nobody has them again, and the sets
      in force. A master that is not root keeps of what it was given what is in `KEPT`.

What is kept is what a reload may need as well as the start, whatever the settings say by then: see
docs/security.md for what each is for.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from gwctl.errors import GwctlError

KEPT: Final = {
    "chown": 0,
    "dac_override": 1,
    "fowner": 3,
    "kill": 5,
    "setgid": 6,
    "setuid": 7,
    "net_bind_service": 10,
}
"""By their numbers in linux/capability.h."""
SYS_RESOURCE: Final = ("sys_resource", 24)
"""Kept where a pool sets `nofile`, which may be over the hard limit."""
_SETPCAP: Final = 8
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITIES_MAX: Final = 64
_VERSION_3: Final = 0x20080522


class PrivilegesError(GwctlError):
    """They could not be given up, and it was asked for."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    """Half of each set: 32 capabilities."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def give_up(*, raises_limits: bool) -> tuple[str, ...]:
    """Keep no more than what is needed; returns the names of the capabilities that are left.

    ``raises_limits``: workers may have to raise their limits over what is allowed to this process.

    Raises:
        PrivilegesError: The kernel refuses, or there is no such thing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not (hasattr(libc, "prctl") and hasattr(libc, "capset")):
        raise PrivilegesError('master.privileges = "least" is for Linux')
    kept = wanted(raises_limits=raises_limits)
    gain_no_more()
    permitted = _permitted(libc)
    if permitted >> _SETPCAP & 1:
        for number in range(_CAPABILITIES_MAX):
            if number not in kept.values() and libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:
                _call(libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "PR_CAPBSET_DROP")
    left = {name: number for name, number in kept.items() if permitted >> number & 1}
    _keep(libc, sum(1 << number for number in left.values()))
    return tuple(left)


def gain_no_more() -> None:
    """What this process executes from here on gains no rights by setuid, setgid or file capabilities.

    Nothing where there is no such thing. What it has, it keeps.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        _call(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")


def wanted(*, raises_limits: bool) -> dict[str, int]:
    """What is kept of what there is, by name."""
    return KEPT | dict([SYS_RESOURCE]) if raises_limits else KEPT


def _permitted(libc: ctypes.CDLL) -> int:
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    _call(libc.capget(ctypes.byref(header), data), "capget")
    return int(data[0].permitted) | int(data[1].permitted) << 32


def _keep(libc: ctypes.CDLL, sets: int) -> None:
    """Have exactly these, in force and permitted. What is inherited by exec(2) is no more than these."""
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    _call(libc.capget(ctypes.byref(header), data), "capget")
    for half, each in enumerate(data):
        mask = sets >> 32 * half & 0xFFFFFFFF
        each.effective = each.permitted = mask
        each.inheritable &= mask
    _call(libc.capset(ctypes.byref(header), data), "capset")


def _call(result: int, what: str) -> None:
    if result != 0:
        reason = os.strerror(ctypes.get_errno())
        raise PrivilegesError(f"privileges cannot be given up: {what}: {reason}")

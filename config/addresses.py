"""The addresses that ``bind`` may hold, parsed and nothing else: no socket is touched.

127.0.0.1:8000      IPv4; port 0 is any free port
[::1]:8000          IPv6
:8000               every address of the machine, IPv4 and IPv6
localhost:8000      127.0.0.1; no other name, because binding never asks DNS
unix:/run/x.sock    a Unix socket; a relative path is under the folder of gw.toml
fd:3                a listening socket that this process inherited
systemd:web         the sockets called so in a systemd .socket unit (FileDescriptorName=)
tls:...             any of these, spoken to in TLS. It is the same socket: `bare` takes the mark off
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Final

from msgspec import Struct

_DESCRIPTOR_NAME: Final = re.compile(r"[!-9;-~]{1,255}")  # systemd.socket(5): ASCII that shows, but no colon
TLS: Final = "tls:"
_PORT_MAX: Final = 65535
_FORMS: Final = "HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH, fd:N or systemd:NAME"


class TcpAddress(Struct, frozen=True):
    """``host`` is an IP address, or empty: every address of the machine, IPv4 and IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        return not self.host or ipaddress.ip_address(self.host.partition("%")[0]).is_unspecified


class UnixAddress(Struct, frozen=True):
    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class FdAddress(Struct, frozen=True):
    fd: int

    def __str__(self) -> str:
        return f"fd:{self.fd}"


class SystemdAddress(Struct, frozen=True):
    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


Address = TcpAddress | UnixAddress | FdAddress | SystemdAddress


class AddressError(ValueError):
    """The text is no address. ``hint`` says what to write, where that can be told."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


def bare(text: str) -> str:
    """Take the mark of TLS off."""
    return text.removeprefix(TLS)


def canonical(text: str) -> str:
    """Write an address in its one form, mark included.

    Raises:
        AddressError: As in `parse`.
    """
    address = bare(text)
    return text[: len(text) - len(address)] + str(parse(address))


def parse(text: str) -> Address:
    """Understand one address without the mark of TLS.

    Raises:
        AddressError: With what is wrong, as a `Problem` says it.
    """
    scheme, colon, rest = text.partition(":")
    if colon:
        match scheme:
            case "unix":
                return _unix(rest)
            case "fd":
                return _descriptor(rest)
            case "systemd":
                return _systemd(rest)
            case "http" | "tcp":
                raise AddressError("is a URL", _write(rest.strip("/")))
            case "https" | "ssl":
                raise AddressError("is a URL", _write(rest.strip("/"), TLS))
    if text.startswith(("/", "./")) or text.endswith((".sock", ".socket")):
        raise AddressError("is a path", f'Write "unix:{text}"')
    return _tcp(text)


def make_absolute(text: str, folder: Path) -> str:
    """Put the path of a ``unix:`` address under ``folder`` unless it is absolute; leave others alone."""
    address = bare(text)
    if not address.startswith("unix:") or address.removeprefix("unix:")[:1] in {"", "@"}:
        return text
    return f"{text[: len(text) - len(address)]}unix:{folder / address.removeprefix('unix:')}"


def is_any_port(address: Address) -> bool:
    """Tell whether it asks for any free port: a different one each time."""
    return isinstance(address, TcpAddress) and address.port == 0


def numbered(text: str, seen: Counter[str]) -> str:
    """Write an address with port 0 so that each is another text: ``127.0.0.1:0``, ``127.0.0.1:00``.

    Listeners are known by their texts. ``seen`` counts those that there are.
    """
    try:
        if not is_any_port(parse(bare(text))):
            return text
    except AddressError:
        return text  # the checks will tell
    seen[bare(text)] += 1
    return text + "0" * (seen[bare(text)] - 1)


def shown(text: str) -> str:
    """Write an address for a person: as `numbered` found it."""
    try:
        return canonical(text)
    except AddressError:
        return text


def overlap(one: Address, other: Address) -> bool:
    """Tell whether both cannot be bound at once: equal, or one covers all addresses of the other's port.

    Port 0 is a different port each time. [::] takes IPv6 only, so it leaves 0.0.0.0 free.
    """
    if isinstance(one, TcpAddress) and isinstance(other, TcpAddress):
        if one.port != other.port or one.port == 0:
            return False
        wide = one if one.is_wildcard else other
        narrow = other if wide is one else one
        if not wide.is_wildcard:
            return one == other
        return not wide.host or not narrow.host or (":" in wide.host) == (":" in narrow.host)
    return one == other


def _unix(path: str) -> UnixAddress:
    if path.startswith("//"):
        raise AddressError("has too many slashes", f'Write "unix:/{path.lstrip("/")}"')
    if path in {"", "@"}:
        raise AddressError("has no path", 'Write "unix:/run/NAME.sock"')
    if "\0" in path:
        raise AddressError("has a NUL in its path")
    if odd := next((each for each in path if unicodedata.category(each) == "Cc"), ""):
        raise AddressError(f"has the control character {odd!r} in its path")
    if path.endswith("/"):
        raise AddressError("is a folder: a socket needs a name in it", f'Write "unix:{path}web.sock"')
    return UnixAddress(path)


def _descriptor(number: str) -> FdAddress:
    scheme_form = number.removeprefix("//")  # gunicorn and uWSGI write fd://3
    if not _is_number(scheme_form):
        raise AddressError(f"{number!r} is not the number of a descriptor", 'Write "fd:3"')
    if number != scheme_form:
        raise AddressError("has slashes", f'Write "fd:{scheme_form}"')
    fd = int(number)
    if fd < 3:
        raise AddressError(f"descriptor {fd} is stdin, stdout or stderr; a listening socket is 3 or higher")
    return FdAddress(fd)


def _systemd(name: str) -> SystemdAddress:
    if not name:
        raise AddressError("has no name", 'Write "systemd:NAME", with FileDescriptorName=NAME in the unit')
    if not _DESCRIPTOR_NAME.fullmatch(name):
        raise AddressError(
            "is no FileDescriptorName: ASCII without spaces and colons, at most 255 characters"
        )
    return SystemdAddress(name)


def _tcp(text: str) -> TcpAddress:
    host, colon, port = text.rpartition(":")
    if text.startswith("[") and text.endswith("]"):
        raise AddressError("has no port", f'Write "{text}:8000"')
    if not colon:
        if _is_number(text):
            raise AddressError("has no host", f'Write "127.0.0.1:{text}", or ":{text}" for every address')
        if _is_host(text):
            raise AddressError("has no port", _write(f"{text}:8000"))
        raise AddressError(f"expected {_FORMS}")
    if ":" in host and not host.startswith("["):
        if _is_ipv6(text):
            raise AddressError("an IPv6 address stands in brackets, with a port", f'Write "[{text}]:8000"')
        if _is_ipv6(host):
            raise AddressError("an IPv6 address stands in brackets", f'Write "[{host}]:{port}"')
        raise AddressError(f"expected {_FORMS}")
    return TcpAddress(_host(host, port), _port(port))


def _port(text: str) -> int:
    if not text:
        raise AddressError("has no port after the colon")
    if not _is_number(text):
        raise AddressError(f"port {text!r} is not a number")
    if int(text) > _PORT_MAX:
        raise AddressError(f"port {int(text)} is not in 1..{_PORT_MAX}")
    return int(text)


def _host(text: str, port: str) -> str:
    if text in {"", "*"}:
        return ""
    if text == "localhost":
        return "127.0.0.1"
    if text.startswith("[") and text.endswith("]"):
        if not _is_ipv6(text[1:-1]):
            raise AddressError(f"{text[1:-1]!r} is not an IPv6 address")
        address = ipaddress.IPv6Address(text[1:-1])
        return str(address)
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        pass
    if re.fullmatch(r"[\d.]+", text):
        raise AddressError(f"{text} is not an IPv4 address: four numbers in 0..255")
    if _is_host(text):
        hint = f'Write an address of this machine, or ":{port}" for every one'
        raise AddressError(f"{text} is a name: binding does not ask DNS", hint)
    raise AddressError(f"expected {_FORMS}")


def _write(address: str, mark: str = "") -> str:
    try:
        parse(address)
    except AddressError:
        return ""
    return f'Write "{mark}{address}"'


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _is_host(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", text))


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True

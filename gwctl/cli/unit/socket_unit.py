"""The socket unit that opens what a gw.toml binds: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from gwctl.cli.unit.needs import Needs
from gwctl.cli.unit.service import Wanted, unit_name
from gwctl.cli.unit.unit_file import Directive, plain
from gwctl.config import addresses
from gwctl.config.addresses import FdAddress, SystemdAddress, TcpAddress, UnixAddress
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.errors import GwctlError


class UnitError(GwctlError):
    """The unit cannot be made of what is known."""


class Opened(Struct, frozen=True):
    """One socket: what systemd listens on, and the name by which gw.toml has it."""

    listen: str
    name: str
    of: PoolSettings
    pool: str = ""
    bound: str = ""
    """What the setting says now; empty: it names the socket already."""


def opened(settings: Settings, listen: Iterable[str]) -> list[Opened]:
    """What the unit has to open for the pools; ``listen``: NAME=ADDRESS of those that gw.toml names already.

    Raises:
        UnitError: An address is not known, or is one that systemd cannot open.
    """
    given = dict(_given(text) for text in listen)
    found = [each for name, pool in settings.pool.items() for each in _of_pool(name, pool, given)]
    if unused := set(given) - {each.name for each in found}:
        raise UnitError(f"no pool binds systemd:{min(unused)}, for which --listen says an address")
    if not found:
        raise UnitError("the settings bind nothing that systemd could open")
    return list({each.name + each.listen: each for each in found}.values())


def _given(text: str) -> tuple[str, str]:
    name, equals, address = text.partition("=")
    if not equals or not name or not address:
        raise UnitError(f"--listen {text}: write NAME=ADDRESS, as in web=127.0.0.1:8000")
    return name, _listen(address)


def _of_pool(name: str, pool: PoolSettings, given: dict[str, str]) -> Iterator[Opened]:
    for number, text in enumerate(pool.bind):
        address = addresses.bare(text)
        match addresses.parse(address):
            case SystemdAddress(name=called):
                if called not in given:
                    raise UnitError(f"where is systemd:{called} to listen? Say --listen {called}=ADDRESS")
                yield Opened(given[called], called, pool, name)
            case FdAddress():
                raise UnitError(f"pool.{name} binds {address}: a descriptor that somebody else passes")
            case _:
                called = name if number == 0 else f"{name}-{number + 1}"
                tls = text[: len(text) - len(address)]
                yield Opened(_listen(address), called, pool, name, f"{tls}systemd:{called}")


def _listen(address: str) -> str:
    """As ListenStream= has it."""
    try:
        parsed = addresses.parse(address)
    except addresses.AddressError as error:
        raise UnitError(f"{address} {error}. {error.hint}".rstrip(". ")) from None
    match parsed:
        case TcpAddress(host="", port=port):
            return str(port)
        case TcpAddress() as tcp:
            return str(tcp)
        case UnixAddress(path=path):
            return path
        case _:
            raise UnitError(f"{address} is nothing that systemd could open")


def socket_units(needs: Needs, wanted: Wanted, sockets: Iterable[Opened]) -> dict[str, list[Directive]]:
    """One unit for each name, as a unit gives one name to all that it opens."""
    by_name: dict[str, list[Opened]] = {}
    for each in sockets:
        by_name.setdefault(each.name, []).append(each)
    service = unit_name(needs, wanted)
    return {
        f"{socket_name(service, name, first=number == 0)}.socket": _unit(service, needs, each)
        for number, (name, each) in enumerate(by_name.items())
    }


def socket_name(service: str, name: str, *, first: bool) -> str:
    """The first is called as the service is, the others by the socket's name, too."""
    return service if first else f"{service}-{name}"


def _unit(service: str, needs: Needs, sockets: list[Opened]) -> list[Directive]:
    name = sockets[0].name
    lines = [("Unit", "Description", f"Socket {plain(name)} of {plain(needs.name)}", "")]
    listens = [listen for each in sockets for listen in _each_family(each.listen)]
    lines += [("Socket", "ListenStream", plain(listen), "") for listen in listens]
    lines += [
        ("Socket", "FileDescriptorName", plain(name), f'What gw.toml says: bind = ["systemd:{name}"]'),
        ("Socket", "Backlog", str(max(each.of.backlog for each in sockets)), "As pool.backlog."),
        ("Socket", "Service", f"{plain(service)}.service", ""),
    ]
    if any(listen.startswith("[") for listen in listens):
        lines.append(("Socket", "BindIPv6Only", "ipv6-only", "As gwctl binds it."))
    if any(each.listen.startswith("/") for each in sockets):
        lines += _access(sockets[0].of)
    lines.append(("Install", "WantedBy", "sockets.target", ""))
    return [Directive(*each) for each in lines]


def _each_family(listen: str) -> tuple[str, ...]:
    """A port alone is every address of the machine: a socket for each family, as gwctl binds them."""
    return (f"0.0.0.0:{listen}", f"[::]:{listen}") if listen.isdigit() else (listen,)


def _access(pool: PoolSettings) -> Iterator[tuple[str, str, str, str]]:
    """Who may connect to a Unix socket."""
    yield "Socket", "SocketMode", pool.socket_mode, "As pool.socket_mode."
    if user := pool.socket_user or pool.user:
        yield "Socket", "SocketUser", plain(user), ""
    if group := pool.socket_group or pool.group:
        yield "Socket", "SocketGroup", plain(group), ""

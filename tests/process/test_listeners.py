"""Binding, changing and undoing on real sockets; and what each error says."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gwctl.config.model.settings import PoolSettings
from gwctl.errors import BindError
from gwctl.supervisor.listeners import bind as binding
from gwctl.supervisor.listeners import unix_socket
from gwctl.supervisor.listeners.listener_set import ListenerSet
from tests.support import child

ROOT = os.geteuid() == 0


def pool(*bind: str, **more: Any) -> dict[str, PoolSettings]:
    return {"web": PoolSettings(app="x:y", bind=bind, **more)}


@pytest.fixture
def listeners() -> Iterator[ListenerSet]:
    made = ListenerSet({})
    yield made
    made.close()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of the loopback that this process holds."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def opened(listeners: ListenerSet, *bind: str, **more: Any) -> list[socket.socket]:
    listeners.open(pool(*bind, **more))
    listeners.commit()
    return [listener.sock for address in bind for listener in listeners.get(address)]


def refused(listeners: ListenerSet, *bind: str, **more: Any) -> BindError:
    with pytest.raises(BindError) as caught:
        listeners.open(pool(*bind, **more))
    return caught.value


def reachable(family: int, address: Any) -> bool:
    with socket.socket(family) as client:
        return client.connect_ex(address) == 0


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


# ---- TCP


def test_tcp(listeners: ListenerSet) -> None:
    (sock,) = opened(listeners, "127.0.0.1:0", backlog=7)
    (listener,) = listeners.get("127.0.0.1:0")
    host, port = sock.getsockname()
    assert listener.url == f"http://127.0.0.1:{port}"
    assert port != 0
    assert not sock.getblocking()
    assert not os.get_inheritable(sock.fileno())
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    assert reachable(socket.AF_INET, (host, port))


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="the system has no such option")
@pytest.mark.parametrize("passed", [None, 0, 1])
def test_clients_that_vanish_are_found_out_by_the_kernel(listeners: ListenerSet, passed: int | None) -> None:
    with socket.socket() as other:
        address = "127.0.0.1:0"
        if passed is not None:  # with a value of its own, or with none
            other.bind(("127.0.0.1", 0))
            other.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, passed)
            other.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 33)
            other.listen()
            address = f"fd:{os.dup(other.fileno())}"
        (sock,) = opened(listeners, address)
        sock.setblocking(True)
        with socket.create_connection(sock.getsockname()), sock.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle_s = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            assert idle_s == (33 if passed else 120)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_beside_ipv4_on_the_same_port(listeners: ListenerSet) -> None:
    """[::] is IPv6 alone, so that both wildcards can be listed."""
    (four,) = opened(listeners, "0.0.0.0:0")
    port = four.getsockname()[1]
    listeners.open(pool("0.0.0.0:0", f"[::]:{port}"))
    (six,) = listeners.get(f"[::]:{port}")
    assert six.url == f"http://[::]:{port}"
    assert six.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    assert reachable(socket.AF_INET6, ("::1", port))


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_every_address_is_two_sockets_on_one_port(listeners: ListenerSet) -> None:
    """Applications see IPv4 clients under their own address, not as ::ffff:127.0.0.1."""
    four, six = opened(listeners, ":0")
    four.setblocking(True)  # the kernel may have work left before it is in the backlog
    port = four.getsockname()[1]
    assert [listener.url for listener in listeners.get(":0")] == [
        f"http://0.0.0.0:{port}",
        f"http://[::]:{port}",
    ]
    with socket.create_connection(("127.0.0.1", port)) as client:
        accepted, peer = four.accept()
        assert peer == client.getsockname()
        accepted.close()
    assert reachable(socket.AF_INET6, ("::1", port))
    assert six.getsockname()[1] == port


def test_every_address_without_ipv6(listeners: ListenerSet, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without(family: int = socket.AF_INET, *more: Any, **named: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return real(family, *more, **named)

    monkeypatch.setattr(socket, "socket", without)
    (only,) = opened(listeners, ":0")
    assert only.family == socket.AF_INET


def test_a_port_in_use_names_its_holder(listeners: ListenerSet, taken: int) -> None:
    error = refused(listeners, f"127.0.0.1:{taken}")
    assert error.errno == errno.EADDRINUSE
    assert error.reason == "in use by this master itself: another address of the settings covers it"


def test_a_port_in_use_by_another_process(listeners: ListenerSet) -> None:
    code = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        port = int(other.stdout.readline())
        error = refused(listeners, f"127.0.0.1:{port}")
        other.stdin.close()
    assert str(error).startswith(f"cannot listen on 127.0.0.1:{port}: in use by pid {other.pid} (")
    assert "import socket, sys" in error.reason


def test_an_address_of_another_machine(listeners: ListenerSet) -> None:
    error = refused(listeners, "192.0.2.1:0")
    assert (error.errno, error.reason) == (
        errno.EADDRNOTAVAIL,
        "no interface of this machine has the address 192.0.2.1",
    )


@pytest.mark.skipif(not ROOT, reason="becomes another user")
def test_a_low_port_without_the_right_says_what_to_do() -> None:
    socket.getaddrinfo("127.0.0.1", 1)  # imports its codec, which another user may not be able to read

    def bind() -> str:
        try:
            ListenerSet({}).open(pool("127.0.0.1:1"))
        except BindError as error:
            return error.reason
        return ""

    reason = child.result(*child.start(bind, uid=child.NOBODY))
    if not reason:
        pytest.skip("this machine lets anybody bind low ports")
    assert f"uid {child.NOBODY} may not use ports below" in reason
    assert "CAP_NET_BIND_SERVICE" in reason
    assert "socket unit" in reason


# ---- Unix sockets


def test_unix_socket(listeners: ListenerSet, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    opened(listeners, f"unix:{path}", socket_mode="606")
    assert listeners.get(f"unix:{path}")[0].url == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o606
    assert reachable(socket.AF_UNIX, str(path))
    listeners.close()
    assert not path.exists()


@pytest.mark.skipif(not ROOT, reason="gives files away")
@pytest.mark.parametrize(
    ("settings", "owner"),
    [
        ({}, (0, 0)),
        ({"user": "nobody"}, (65534, 65534)),
        ({"user": "nobody", "group": "daemon"}, (65534, 1)),
        ({"user": "nobody", "socket_user": "daemon", "socket_group": "12345"}, (1, 12345)),
        ({"user": "4321"}, (4321, 0)),
    ],
)
def test_owner(
    listeners: ListenerSet, tmp_path: Path, settings: dict[str, str], owner: tuple[int, int]
) -> None:
    path = tmp_path / "web.sock"
    opened(listeners, f"unix:{path}", **settings)
    assert (path.stat().st_uid, path.stat().st_gid) == owner


@pytest.mark.skipif(not ROOT, reason="as another user names are not looked up")
def test_unknown_owners(listeners: ListenerSet, tmp_path: Path) -> None:
    assert (
        refused(listeners, f"unix:{tmp_path}/x", socket_user="nobody-here").reason
        == "there is no user nobody-here"
    )
    assert (
        refused(listeners, f"unix:{tmp_path}/x", socket_group="none-here").reason
        == "there is no group none-here"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_abstract(listeners: ListenerSet) -> None:
    name = f"gwctl-test-{os.getpid()}"
    opened(listeners, f"unix:@{name}")
    assert listeners.get(f"unix:@{name}")[0].url == f"unix:@{name}"
    assert reachable(socket.AF_UNIX, f"\0{name}")
    error = refused(ListenerSet({}), f"unix:@{name}")
    assert error.errno == errno.EADDRINUSE
    assert f"in use by pid {os.getpid()} (" in error.reason


# ---- changing


def test_unchanged_addresses_keep_their_sockets(listeners: ListenerSet) -> None:
    """A connection that waits in the backlog is still there after the reload."""
    (sock,) = opened(listeners, "127.0.0.1:0")
    with socket.create_connection(sock.getsockname()):
        listeners.open(pool("127.0.0.1:0", "127.0.0.2:0"))
        listeners.commit()
        assert listeners.get("127.0.0.1:0")[0].sock is sock
        sock.setblocking(True)  # the kernel may have work left before it is in the backlog
        sock.accept()[0].close()


def test_commit_closes_what_only_the_previous_plan_had(listeners: ListenerSet, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    opened(listeners, f"unix:{first}")
    listeners.open(pool(f"unix:{second}"))
    assert reachable(socket.AF_UNIX, str(first))
    assert reachable(socket.AF_UNIX, str(second))
    listeners.commit()
    assert not first.exists()
    assert reachable(socket.AF_UNIX, str(second))


def test_abandon_closes_what_only_the_tried_plan_had(listeners: ListenerSet, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    opened(listeners, f"unix:{first}", socket_mode="600")
    listeners.open(pool(f"unix:{first}", f"unix:{second}", socket_mode="660"))
    assert stat.S_IMODE(first.stat().st_mode) == 0o660
    listeners.abandon()
    assert not second.exists()
    assert reachable(socket.AF_UNIX, str(first))
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert listeners.get(f"unix:{second}") == ()


def test_a_failure_changes_nothing(listeners: ListenerSet, tmp_path: Path, taken: int) -> None:
    kept, fresh = tmp_path / "kept", tmp_path / "fresh"
    opened(listeners, f"unix:{kept}", socket_mode="600")
    before = descriptors()
    refused(listeners, f"unix:{kept}", f"unix:{fresh}", f"127.0.0.1:{taken}")
    assert not fresh.exists()
    assert reachable(socket.AF_UNIX, str(kept))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert not descriptors() - before  # what others have left behind may go meanwhile
    listeners.open(pool(f"unix:{kept}", f"unix:{fresh}"))
    listeners.commit()
    assert reachable(socket.AF_UNIX, str(fresh))


def test_two_pools_cannot_share_an_address(listeners: ListenerSet) -> None:
    pools = {"web": pool("127.0.0.1:0")["web"], "live": pool("127.0.0.1:0")["web"]}
    with pytest.raises(BindError, match=r"both pool\.web and pool\.live bind it"):
        listeners.open(pools)


def test_a_child_closes_its_copies_only(listeners: ListenerSet, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    opened(listeners, "127.0.0.1:0", f"unix:{path}")

    def close() -> str:
        listeners.close_in_child({"127.0.0.1:0"})
        kept, closed = listeners.get("127.0.0.1:0")[0], listeners.get(f"unix:{path}")[0]
        return f"{kept.sock.fileno() >= 0} {closed.sock.fileno() == -1}"

    assert child.result(*child.start(close)) == "True True"
    assert path.exists()
    assert reachable(socket.AF_UNIX, str(path))


def test_the_url_of_an_inherited_unix_socket_without_a_name() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        assert binding.url_of(sock) == "unix:"


def test_undoing_outlives_a_socket_file_that_is_gone(listeners: ListenerSet, tmp_path: Path) -> None:
    """Somebody removes the file while a plan with another mode is tried: dropping the plan must not raise."""
    address = f"unix:{tmp_path}/web.sock"
    sock = opened(listeners, address, socket_mode="600")[0]
    listeners.open(pool(address, socket_mode="666"))
    (tmp_path / "web.sock").unlink()
    listeners.abandon()
    assert listeners.get(address)[0].sock is sock


def test_a_socket_whose_file_is_gone_is_bound_anew(listeners: ListenerSet, tmp_path: Path) -> None:
    """With the permissions wanted now; given up, the one before is open as it was."""
    path = tmp_path / "web.sock"
    opened(listeners, f"unix:{path}", socket_mode="600")
    before = listeners.get(f"unix:{path}")[0].sock
    path.unlink()
    listeners.open(pool(f"unix:{path}", socket_mode="606"))
    assert path.stat().st_mode & 0o777 == 0o606
    assert listeners.renewed == {f"unix:{path}"}
    listeners.abandon()
    assert listeners.renewed == set()
    assert not path.exists()
    assert listeners.get(f"unix:{path}")[0].sock is before
    listeners.open(pool(f"unix:{path}", socket_mode="606"))
    assert listeners.commit() == {"web"}
    assert before.fileno() == -1
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (b"\0gwctl\nte\0st", r"unix:@gwctl\nte\x00st"),
        (b"\0gwctl\x1b[31m", r"unix:@gwctl\x1b[31m"),
        ("\0gwctl näme".encode(), "unix:@gwctl näme"),
    ],
)
def test_an_inherited_socket_with_an_odd_name_is_one_line(name: bytes, url: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(name + f" {os.getpid()}".encode())
        assert binding.url_of(sock) == f"{url} {os.getpid()}"


def test_a_second_address_with_port_0_is_shown_without_the_zeros_that_tell_it_apart() -> None:
    wanted = binding.Wanted("127.1.2.3:00", "web", 8, unix_socket.Access())
    assert wanted.shown == "127.1.2.3:0"

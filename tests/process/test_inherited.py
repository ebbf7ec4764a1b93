"""Descriptors that were bound by somebody else, from a parent process or from systemd."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gwctl.config.model.settings import PoolSettings
from gwctl.errors import BindError
from gwctl.supervisor.listeners.inherited import Passed, listening
from gwctl.supervisor.listeners.listener_set import ListenerSet

ACTIVATED = """
import os, sys
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
from gwctl.config.model.settings import PoolSettings
from gwctl.errors import GwctlError
from gwctl.supervisor.listeners.listener_set import ListenerSet
names = sys.argv[1:]
try:
    listeners = ListenerSet(os.environ)
    listeners.open({"web": PoolSettings(app="x", bind=tuple(names))})
except GwctlError as error:
    sys.exit(str(error))
listeners.commit()
print([listener.url for name in names for listener in listeners.get(name)])
print([os.get_inheritable(fd) for fd in range(3, 3 + int(os.environ["LISTEN_FDS"]))])
"""


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def refused(fd: int) -> str:
    with pytest.raises(BindError) as caught:
        listening(fd, f"fd:{fd}")
    assert caught.value.address == f"fd:{fd}"
    return caught.value.reason


def pool(*bind: str) -> dict[str, PoolSettings]:
    return {"web": PoolSettings(app="x:y", bind=bind)}


# ---- fd:N


def test_a_listening_socket_is_taken_over(server: socket.socket) -> None:
    fd = os.dup(server.fileno())
    os.set_inheritable(fd, True)
    listeners = ListenerSet({})
    listeners.open(pool(f"fd:{fd}"))
    listeners.commit()
    (listener,) = listeners.get(f"fd:{fd}")
    assert listener.url == f"http://127.0.0.1:{server.getsockname()[1]}"
    assert listener.sock.fileno() == fd
    assert not listener.sock.getblocking()
    assert not os.get_inheritable(fd)
    listeners.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_an_abandoned_plan_leaves_the_descriptor_for_the_next(server: socket.socket) -> None:
    fd = os.dup(server.fileno())
    listeners = ListenerSet({})
    listeners.open(pool("127.0.0.1:0"))
    listeners.commit()
    listeners.open(pool("127.0.0.1:0", f"fd:{fd}"))
    listeners.abandon()
    listeners.open(pool("127.0.0.1:0", f"fd:{fd}"))
    listeners.commit()
    assert listeners.get(f"fd:{fd}")[0].sock.fileno() == fd
    listeners.close()


def test_what_is_no_listening_socket_is_named(server: socket.socket) -> None:
    read, write = os.pipe()
    assert refused(read) == f"descriptor {read} is a pipe, not a socket"
    os.close(read)
    os.close(write)
    assert refused(write) == f"descriptor {write} is not open"
    with Path("/dev/null").open() as device, Path(__file__).open() as file:
        assert "a terminal or device, not a socket" in refused(device.fileno())
        assert "a file, not a socket" in refused(file.fileno())
        os.fstat(file.fileno())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert "a datagram socket" in refused(sock.fileno())
        os.fstat(sock.fileno())
    with socket.socket(socket.AF_INET) as sock:
        assert "a socket that does not listen" in refused(sock.fileno())
    with socket.create_connection(server.getsockname()) as sock:
        assert "a connection, not a listening socket" in refused(sock.fileno())


# ---- systemd


def activated(
    sockets: list[socket.socket], names: str, *bind: str, **more: str
) -> subprocess.CompletedProcess[str]:
    """Start a process as systemd does: descriptors from 3 on, and their names."""
    fds = [sock.fileno() for sock in sockets]

    def arrange() -> None:
        high = [os.dup2(fd, 100 + index) for index, fd in enumerate(fds)]
        for index, fd in enumerate(high):
            os.dup2(fd, 3 + index, inheritable=True)
            os.close(fd)

    environ = os.environ | {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": names, **more}
    return subprocess.run(
        [sys.executable, "-c", ACTIVATED, *bind],
        preexec_fn=arrange,
        close_fds=False,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.fixture
def three() -> Iterator[list[socket.socket]]:
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    yield made
    for sock in made:
        sock.close()


def url(sock: socket.socket) -> str:
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_sockets_by_name_several_with_the_same(three: list[socket.socket]) -> None:
    outcome = activated(three, "web:admin:web", "systemd:web", "systemd:admin")
    assert outcome.returncode == 0, outcome.stderr
    urls, inheritable = outcome.stdout.splitlines()
    assert urls == str([url(three[0]), url(three[2]), url(three[1])])
    assert inheritable == "[False, False, False]"


def test_a_socket_that_no_pool_binds_is_not_passed_on(three: list[socket.socket]) -> None:
    outcome = activated(three, "web:admin:web", "systemd:web")
    assert outcome.stdout.splitlines()[1] == "[False, False, False]"


def test_a_name_that_is_not_there(three: list[socket.socket]) -> None:
    outcome = activated(three, "web:admin:web", "systemd:shop")
    assert (
        outcome.stderr
        == "cannot listen on systemd:shop: systemd passed no socket of this name; it passed admin, web\n"
    )


def test_without_names(three: list[socket.socket]) -> None:
    assert activated(three, "", "systemd:unknown").returncode == 0


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({}, "systemd passed no sockets: start the service through its socket unit"),
        (
            {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"},
            "systemd passed its sockets to pid 1, which is not this process",
        ),
    ],
)
def test_nothing_was_passed(environ: dict[str, Any], reason: str) -> None:
    with pytest.raises(BindError) as caught:
        Passed(environ).named("web")
    assert caught.value.reason.startswith(reason)


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        (
            {"LISTEN_FDS": "99999999", "LISTEN_FDNAMES": ""},
            "LISTEN_FDS=99999999 announces descriptor 6, which was not passed",
        ),
        (
            {"LISTEN_FDS": "4", "LISTEN_FDNAMES": ""},
            "LISTEN_FDS=4 announces descriptor 6, which was not passed",
        ),
        ({"LISTEN_FDS": "9" * 5000}, "is not a number of descriptors"),
        ({"LISTEN_FDS": "-1"}, "LISTEN_FDS='-1' is not a number of descriptors"),
        ({"LISTEN_FDS": "3.0"}, "is not a number of descriptors"),
        ({"LISTEN_FDS": " 3"}, "is not a number of descriptors"),
        ({"LISTEN_FDS": "\u0663"}, "is not a number of descriptors"),
        ({"LISTEN_FDNAMES": "web:admin"}, "LISTEN_FDNAMES has 2 names for LISTEN_FDS=3 descriptors"),
        ({"LISTEN_FDNAMES": ":" * 100_000}, "LISTEN_FDNAMES has 100001 names for LISTEN_FDS=3 descriptors"),
        ({"LISTEN_FDNAMES": "web:\x1b[2J:web"}, "which is no name of a descriptor"),
        ({"LISTEN_FDNAMES": f"web:{'x' * 256}:web"}, "which is no name of a descriptor"),
        ({"LISTEN_PID": "me"}, "LISTEN_PID='me' is not the number of a process"),
        ({"LISTEN_PID": "9" * 5000}, "is not the number of a process"),
    ],
)
def test_nonsense_is_refused_at_once(
    environ: dict[str, str], reason: str, three: list[socket.socket]
) -> None:
    begin = time.monotonic()
    outcome = activated(three, "web:admin:web", "systemd:web", **environ)
    assert outcome.returncode == 1
    assert reason in outcome.stderr
    assert outcome.stderr.endswith("Unset LISTEN_PID, or start the service through its socket unit\n")
    assert time.monotonic() - begin < 10


def test_what_was_meant_for_another_process_is_not_looked_at(three: list[socket.socket]) -> None:
    for environ in ({"LISTEN_PID": "1", "LISTEN_FDS": "99999999"}, {"LISTEN_PID": "", "LISTEN_FDS": "x"}):
        outcome = activated(three, "", "systemd:web", **environ)
        assert "systemd passed" in outcome.stderr


def test_a_number_that_a_reload_has_freed_is_nobodys(server):
    """What has it next is not closed in new workers; and the name is not taken for another socket."""
    listeners = ListenerSet({}, {"web": [server.detach()]})
    (fd,) = listeners._passed.fds
    listeners.open({"web": PoolSettings(app="x", bind=("systemd:web",))})
    listeners.commit()
    listeners.open({"web": PoolSettings(app="x", bind=("127.0.0.1:0",))})
    listeners.commit()
    with socket.socket() as other:
        again = (
            other
            if other.fileno() == fd
            else socket.fromfd(other.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        )
        assert again.fileno() == fd, "the number is used again"
        listeners.close_in_child({"127.0.0.1:0"})
        os.fstat(fd)
        with pytest.raises(BindError, match="closed when a reload removed them"):
            listeners.open({"web": PoolSettings(app="x", bind=("systemd:web",))})
        again.close()
    listeners.close()

"""Every kind of address through a whole server, and what is said when one cannot be had."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import textwrap

import httpx
import pytest

from tests.support.server import APPS
from tests.support.service_manager import ServiceManager
from tests.support.wait import until

APP = "wsgi_bare:application"


def over_unix(path: str) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
        return client.get("http://localhost/")


def test_several_addresses_ipv4_ipv6_and_unix_serve_one_pool(gwctl_server, tmp_path):
    path = tmp_path / "web.sock"
    binds = ["127.0.0.1:0", "[::1]:0", f"unix:{path}"]
    with gwctl_server(APP, worker="threads", processes=2, bind=binds, socket_mode="600") as server:
        url6 = server.wait_for_log(r"(http://\[::1\]:\d+)")[1]
        assert httpx.get(server.url).text == "hello"
        assert httpx.get(url6).text == "hello"
        assert over_unix(str(path)).text == "hello"
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


def test_a_stale_socket_file_is_replaced_and_a_live_one_is_an_error(gwctl_server, tmp_path):
    path = tmp_path / "web.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    master = {"bind_retry_s": 0.0}
    with gwctl_server(APP, worker="sync", bind=f"unix:{path}", master=master):
        assert over_unix(str(path)).text == "hello"
        other = gwctl_server(APP, worker="sync", bind=f"unix:{path}", master=master, allow_errors=["."])
        try:
            other.start()
            assert other.wait_for_exit() == 1
            assert f"cannot listen on unix:{path}" in other.log
        finally:
            other.destroy()
        assert over_unix(str(path)).text == "hello"


def test_a_socket_file_that_somebody_else_made_meanwhile_is_left_alone(gwctl_server, tmp_path):
    path = tmp_path / "web.sock"
    with gwctl_server(APP, worker="sync", bind=f"unix:{path}"):
        path.unlink()
        theirs = socket.socket(socket.AF_UNIX)
        theirs.bind(str(path))
    assert path.exists()
    theirs.close()


def test_an_address_in_use_names_it_and_the_reason(gwctl_server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = gwctl_server(APP, bind=address, master={"bind_retry_s": 0.0}, allow_errors=["."])
        try:
            server.start()
            assert server.wait_for_exit() == 1
            assert f"cannot listen on {address}" in server.log
            assert "in use" in server.log
            assert str(os.getpid()) in server.log, "the holder of the port is not named"
        finally:
            server.destroy()


def test_an_address_that_becomes_free_in_time_is_taken(gwctl_server):
    taken = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    server = gwctl_server(APP, bind=address, worker="sync")
    try:
        server.start()
        server.wait_for_log("trying again")
        taken.close()
        server.wait_until_serving()
        assert httpx.get(f"http://{address}").text == "hello"
        server.stop()
    finally:
        taken.close()
        server.destroy()


ACTIVATE = textwrap.dedent(
    """
    import os, sys
    fd = int(sys.argv[1])
    os.dup2(fd, 3, inheritable=True)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
    os.execv(sys.executable, [sys.executable, "-m", "gwctl", *sys.argv[2:]])
    """
)


@pytest.fixture
def activation(tmp_path):
    """A command that passes one socket as systemd does, with a name, and then becomes gwctl."""
    script = tmp_path / "activate.py"
    script.write_text(ACTIVATE)
    return script


def test_a_socket_of_systemd_is_found_by_name_and_its_backlog_is_kept(gwctl_server, activation, tmp_path):
    """A client that connected before the server was there is served by it."""
    listener = socket.create_server(("127.0.0.1", 0))
    early = socket.create_connection(listener.getsockname())
    early.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    server = gwctl_server(
        APP,
        worker="sync",
        bind="systemd:web",
        command=(sys.executable, str(activation), str(listener.fileno())),
    )
    server._listener = listener  # inherited by the subprocess
    with server:
        early.settimeout(10)
        answer = b"".join(iter(lambda: early.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"hello" in answer
    early.close()


def test_notify_socket_hears_ready_reloading_and_stopping(gwctl_server, tmp_path):
    """READY only when all workers are; RELOADING before and READY after; STOPPING at the end."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        heard: list[str] = []

        def wait_for(word: str) -> None:
            def hear() -> bool:
                heard.extend(manager.recv(4096).decode().splitlines())
                return word in heard

            until(lambda: word in heard or hear(), lambda: f"{word} among {heard}")

        environ = {"NOTIFY_SOCKET": str(path)}
        with gwctl_server(
            APP, worker="sync", processes=2, environ=environ, reload={"settle_s": 0.1}
        ) as server:
            wait_for("READY=1")
            assert any(line.startswith("STATUS=") and "2/2 ready" in line for line in heard), heard
            heard.clear()
            server.signal(1)
            wait_for("RELOADING=1")
            assert any(line.startswith("MONOTONIC_USEC=") for line in heard)
            wait_for("READY=1")
            heard.clear()
        wait_for("STOPPING=1")
        wait_for("EXTEND_TIMEOUT_USEC=20000000")


@pytest.mark.parametrize("mistake", ["taken", "typo"])
def test_notify_socket_hears_why_a_start_failed(tmp_path, mistake):
    manager = ServiceManager(str(tmp_path / "notify"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        setting = f"master.{'bind_retry_s=0' if mistake == 'taken' else 'bind_retri_s=0'}"
        command = [
            sys.executable,
            "-m",
            "gwctl",
            "start",
            "wsgi_bare:application",
            "-b",
            f"127.0.0.1:{port}",
            "--set",
            setting,
        ]
        done = subprocess.run(
            command, cwd=APPS, env=os.environ | manager.environ, capture_output=True, timeout=60, check=False
        )
    lines = [line for message in manager.received() for line in message.splitlines()]
    manager.close()
    assert f"EXIT_STATUS={done.returncode}" in lines
    assert lines[-1] == (f"ERRNO={errno.EADDRINUSE}" if mistake == "taken" else "EXIT_STATUS=2")
    status = next(line for line in lines if line.startswith("STATUS="))
    assert ("cannot listen on" if mistake == "taken" else "bind_retri_s") in status


def test_port_0_may_be_asked_for_as_often_as_one_likes(gwctl_server, tmp_path):
    """Each time it is another port; in one pool and in several, and over a reload they stay."""
    live = {"app": "wsgi_bare:application", "bind": "127.0.0.1:0", "chdir": str(APPS), "processes": 1}
    with gwctl_server(
        "wsgi_bare:application",
        worker="sync",
        bind=["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"],
        pools={"live": live},
        reload={"settle_s": 0.05},
    ) as server:
        line = (
            server.wait_for_log(r"web: 1 worker, (.*)$")[1]
            + " "
            + server.wait_for_log(r"live: 1 worker, (.*)$")[1]
        )
        urls = line.split()
        assert len(set(urls)) == 4
        for _ in range(2):
            assert [httpx.get(url).text for url in urls] == ["hello"] * 4
            assert server.gwctl("reload", "-c", str(server.config)).returncode == 0

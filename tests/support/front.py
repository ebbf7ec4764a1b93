"""nginx or haproxy in front of a gwctl under test, on a port that the test has bound.

    with nginx("location / { proxy_pass http://127.0.0.1:8000; }", tmp_path) as port: ...
    with haproxy("server one 127.0.0.1:8000 send-proxy", tmp_path) as port: ...

The listening socket is bound here and inherited, so no port can be taken in between.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.debian import need
from tests.support.wait import DEADLINE_S

_NGINX = """\
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 0;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port};
        {server}
    }}
}}
"""

_HAPROXY = """\
global
    maxconn 256
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    {defaults}
frontend front
    bind fd@{fd}
    default_backend back
backend back
    {backend}
"""


@contextlib.contextmanager
def nginx(server: str, folder: Path) -> Iterator[int]:
    """Run nginx with the inside of one ``server`` block; yields its port."""
    program = need("nginx", "nginx-light")
    user = "user root;" if os.geteuid() == 0 else ""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (folder / "nginx.conf").write_text(_NGINX.format(user=user, port=port, server=server))
        command = [program, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
        with _run(command, folder, listener, {"NGINX": f"{listener.fileno()};"}):
            yield port


@contextlib.contextmanager
def haproxy(backend: str, folder: Path, defaults: str = "") -> Iterator[int]:
    """Run haproxy with the inside of one ``backend``; yields its port."""
    program = need("haproxy", "haproxy")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        text = _HAPROXY.format(fd=listener.fileno(), backend=backend, defaults=defaults)
        (folder / "haproxy.cfg").write_text(text)
        with _run([program, "-f", str(folder / "haproxy.cfg"), "-db"], folder, listener, {}):
            yield listener.getsockname()[1]


@contextlib.contextmanager
def _run(
    command: list[str], folder: Path, listener: socket.socket, environ: Mapping[str, str]
) -> Iterator[None]:
    """Until it runs, connections wait in the backlog that is bound already: nothing to wait for."""
    with (folder / "front.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, pass_fds=[listener.fileno()], env={**os.environ, **environ}
        )
    try:
        yield
    except BaseException:
        print((folder / "front.log").read_text("utf-8", "replace"))
        raise
    finally:
        process.terminate()
        process.wait(DEADLINE_S)

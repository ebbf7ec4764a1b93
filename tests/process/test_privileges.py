"""A master as root with workers as somebody else: who may do what, and in which order."""

from __future__ import annotations

import grp
import os
import pwd
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.apps import write_shop
from tests.support.server import ROOT
from tests.support.tls import Files, client_context
from tests.support.users import interpreter_for_others, readable_by_others
from tests.support.wait import until

NOBODY = pwd.getpwnam("nobody") if any(entry.pw_name == "nobody" for entry in pwd.getpwall()) else None

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or NOBODY is None, reason="changing users needs root and a user called nobody"
)

WHO = """
import os
AT_IMPORT = f"{os.getuid()} {os.geteuid()} {os.getgid()} {os.umask(0o77)}"

def application(environ, start_response):
    try:
        os.setuid(0)
        regained = "root again"
    except PermissionError:
        regained = "root is gone"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{AT_IMPORT} {sorted(os.getgroups())} {regained}".encode()]
"""


@pytest.fixture
def interpreter():
    """Command and environment of a gwctl that another user may run."""
    if not readable_by_others(ROOT / "gwctl" / "__init__.py"):
        pytest.skip(f"another user may not read {ROOT}: the workers could not import gwctl there")
    python, environ = interpreter_for_others()
    if not Path(python).exists():
        pytest.skip(f"no interpreter of {sys.version_info[:2]} that another user could read: no {python}")
    return {"command": (python, "-m", "gwctl"), "environ": environ}


@pytest.fixture
def shop(public_folder):
    return write_shop(public_folder, WHO)


def test_everything_that_needs_root_comes_first_and_the_import_last(gwctl_server, shop, interpreter):
    """Socket, log, log and pid file are root's doing; the application is imported as the user."""
    assert NOBODY is not None
    path, log, pidfile = shop / "web.sock", shop / "access.log", shop / "pid"
    with gwctl_server(
        "shop:application",
        chdir=shop,
        worker="sync",
        processes=2,
        bind=["127.0.0.1:0", f"unix:{path}"],
        user="nobody",
        umask="027",
        access_log=str(log),
        master={"pidfile": str(pidfile)},
        **interpreter,
    ) as server:
        groups = sorted(os.getgrouplist("nobody", NOBODY.pw_gid))
        expected = f"{NOBODY.pw_uid} {NOBODY.pw_uid} {NOBODY.pw_gid} {0o27} {groups} root is gone"
        assert httpx.get(server.url).text == expected
        for pid in server.workers:
            assert Path(f"/proc/{pid}").stat().st_uid == NOBODY.pw_uid
        assert Path(f"/proc/{server.pid}").stat().st_uid == 0
        assert path.stat().st_uid == NOBODY.pw_uid
        assert path.stat().st_mode & 0o777 == 0o660
        assert pidfile.read_text().strip() == str(server.pid)
        until(lambda: '"GET / HTTP/1.1" 200' in log.read_text(), "the request in the access log")
        assert log.stat().st_uid == 0
        reply = server.gwctl("reload", "-c", str(server.config))
        assert reply.returncode == 0, reply
        assert httpx.get(server.url).text == expected
    assert not path.exists()
    assert not pidfile.exists()


def test_keys_that_only_root_may_read(gwctl_server, shop, interpreter, tmp_path):
    """The master reads them; workers serve with them as another user, before and after a reload."""
    files = Files(tmp_path, "127.0.0.1")
    files.key.chmod(0o600)
    files.certificate.chmod(0o600)
    with gwctl_server(
        "shop:application",
        chdir=shop,
        worker="sync",
        bind="tls:127.0.0.1:0",
        user="nobody",
        tls={"certificate": str(files.certificate), "key": str(files.key)},
        **interpreter,
    ) as server:
        for _ in range(2):
            assert "root is gone" in httpx.get(server.url, verify=client_context()).text
            assert server.gwctl("reload", "-c", str(server.config)).returncode == 0


def test_group_alone_may_be_given(gwctl_server, shop):
    group = grp.getgrnam("daemon")
    with gwctl_server("shop:application", chdir=shop, worker="sync", group="daemon") as server:
        assert f"0 0 {group.gr_gid} " in httpx.get(server.url).text


TRAPS = """
import os
from pathlib import Path

def application(environ, start_response):
    folder = Path(environ["QUERY_STRING"])
    victim = folder.parent / "secret"
    (folder / "access.log").rename(folder / "access.log.1")
    (folder / "access.log").symlink_to(victim / "new")
    (folder / "run").rename(folder / "aside")
    (folder / "run").symlink_to(victim)
    (folder / "pids").rename(folder / "aside2")
    (folder / "pids").symlink_to(victim)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"set"]
"""


def test_the_application_cannot_have_root_write_elsewhere(gwctl_server, public_folder, interpreter):
    """It exchanges its log for a link, and the folders of socket and pid file for links to root's folder."""
    assert NOBODY is not None
    (public_folder / "shop.py").write_text(TRAPS)
    theirs, victim = public_folder / "theirs", public_folder / "secret"
    for folder in (theirs, theirs / "run", theirs / "pids"):
        folder.mkdir()
        os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    victim.mkdir(mode=0o700)
    kept = {name: f"{name} of root's\n" for name in ("web.sock", "pid")}
    for name, text in kept.items():
        (victim / name).write_text(text)
    with gwctl_server(
        "shop:application",
        chdir=public_folder,
        worker="sync",
        bind=["127.0.0.1:0", f"unix:{theirs}/run/web.sock"],
        user="nobody",
        access_log=str(theirs / "access.log"),
        master={"pidfile": str(theirs / "pids" / "pid")},
        allow_errors=["cannot write the access log", "generation 2 was not adopted"],
        **interpreter,
    ) as server:
        assert (theirs / "run" / "web.sock").is_socket()
        assert httpx.get(f"{server.url}/?{theirs}").text == "set"
        server.signal(signal.SIGUSR1)
        server.wait_for_log(
            r"error master +cannot write the access log .*: access\.log is a symbolic link, and a folder on the way "
            r"belongs to uid \d+ \(nobody\).*; writing to the old file goes on$"
        )
        until(lambda: '"GET /?' in (theirs / "access.log.1").read_text(), "the request in the old file")
        reply = server.gwctl("reload", "-c", str(server.config))  # its socket's file is gone: bound anew
        assert reply.returncode == 1
        assert "run is a symbolic link" in reply.stderr + reply.stdout
        assert {each.name: each.read_text() for each in victim.iterdir()} == kept
    assert {each.name: each.read_text() for each in victim.iterdir()} == kept

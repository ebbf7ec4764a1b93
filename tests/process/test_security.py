"""Lines of docs/security.md that no other test tries: mostly what the kernel sees to, and what we cannot."""

from __future__ import annotations

import os
import sys
from typing import Any

import httpx
import pytest

from gwctl.supervisor.upgrade.program import Program
from tests.hostile.run import USERS
from tests.process.test_shared_memory import a_pool, app_of
from tests.support.processes import look
from tests.support.users import can_change_to, interpreter_for_others

needs_users = pytest.mark.skipif(
    not can_change_to(*USERS), reason="needs root, and an interpreter for other users"
)


@needs_users
@pytest.mark.parametrize(
    ("worker", "preload"), [("sync", False), ("asgi", True)], ids=["sync", "asgi-preload"]
)
def test_what_the_kernel_keeps_a_worker_of_another_user_from(
    gwctl_server: Any, worker: str, preload: bool
) -> None:
    """Signals to the master and to another pool, their limits, their memory."""
    python, environ = interpreter_for_others()
    other = a_pool(bind=["127.0.0.2:0"], user=USERS[1])
    with gwctl_server(
        app_of(worker),
        worker=worker,
        preload=preload,
        bind="127.0.0.1:0",
        user=USERS[0],
        pools={"other": other},
        command=(python, "-m", "gwctl"),
        environ=environ,
        allow_errors=["Too many open files"],  # it changes its own limit, too
    ) as server:
        pids = server.workers
        assert httpx.get(f"{server.url}/attack/signal_everybody", timeout=20).text == "0 signals"
        assert httpx.get(f"{server.url}/attack/look_into_the_master").text == "nothing"
        assert httpx.get(f"{server.url}/attack/change_limits").text == "0 of the master's"
        assert server.workers == pids
        assert all(look(pid) for pid in pids)


def test_what_a_worker_can_do_and_the_documentation_says_so(gwctl_server: Any) -> None:
    """If one of these fails, the better: then docs/security.md is to be mended.

    It finds in its own memory what the master knew of another pool; and it can cut off the regular file
    that stderr is.
    """
    other = a_pool(bind=["127.0.0.2:0"], env={"TOKEN": "OF-THE-OTHER-POOL"})
    with gwctl_server(app_of("sync"), worker="sync", bind="127.0.0.1:0", pools={"other": other}) as server:
        assert int(httpx.get(f"{server.url}/memory").text) > 0
        assert "serving: " in server.log
        assert httpx.get(f"{server.url}/attack/cut_off_stderr").text == "cut off"
        assert "serving: " not in server.log


def test_the_copy_of_the_program_cannot_be_changed() -> None:
    """A worker that runs from it keeps its descriptor, and the master may be root."""
    program = Program(sys.executable, (sys.executable, "-m", "gwctl", "start"), ".", ())
    program.keep()
    size = os.fstat(program.copy_fd).st_size
    assert size > 100_000
    for fd in (program.copy_fd, os.open(f"/proc/self/fd/{program.copy_fd}", os.O_RDWR)):
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        os.close(fd)

"""Who may use the control socket: `[control] allow_users`, by what the kernel says of them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest

from tests.support import child
from tests.support.apps import BARE
from tests.support.server import GwctlServer
from tests.support.wait import until

NOBODY, OTHER = 65534, 12345
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users")
REFUSES = {"allow_errors": ["control: refused"]}


def ask(path: Path, uid: int, method: str = "status", params: dict[str, object] | None = None) -> str:
    """What a process of ``uid`` is answered that asks for the status, or for something else."""
    question = json.dumps({"id": 1, "method": method, "params": params or {}}).encode()

    def asks() -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30.0)
            try:
                client.connect(str(path))
            except PermissionError:
                return "may not connect"
            with contextlib.suppress(BrokenPipeError):  # the refusal came first
                client.sendall(question + b"\n")
            with client.makefile() as answers:
                answer = json.loads(answers.readline())
        if "error" in answer:
            return str(answer["error"]["message"])
        return str(answer["result"].get("name") or answer["result"]["text"])

    return child.result(*child.start(asks, uid))


def test_who_is_named_may_and_others_may_not(gwctl_server, public_folder: Path) -> None:
    """A reload names another one, and then nobody; each time that holds at once, also over an upgrade."""
    path = public_folder / "shop.sock"
    master = {"control": str(path)}
    with gwctl_server(
        BARE["sync"], worker="sync", master=master, reload={"settle_s": 0.05}, **REFUSES
    ) as server:
        assert ask(path, NOBODY) == "may not connect"
        assert path.stat().st_mode & 0o777 == 0o600
        allow(server, ["nobody"])
        assert ask(path, NOBODY) == "test"
        assert ask(path, NOBODY, "log_level", {"level": "debug"}) == "debug until the next reload, then info"
        server.wait_for_log(r"log level info -> debug \(gwctl log-level by nobody\)")
        refused = f"uid {OTHER} may not control this master; root and uid {NOBODY} may"
        assert ask(path, OTHER) == refused
        place = ask(path, NOBODY, "take_over", {"pid": 7, "patience_s": 60})
        assert place == "not to be taken over by nobody: its own user and root may"
        server.wait_for_log(rf"control: refused pid \d+: {refused}")
        assert server.gwctl("upgrade", "-c", str(server.config)).returncode == 0
        assert (ask(path, NOBODY), ask(path, OTHER)) == ("test", refused)
        allow(server, [str(OTHER)])
        assert ask(path, OTHER) == "test"
        assert ask(path, NOBODY) == f"uid {NOBODY} may not control this master; root and uid {OTHER} may"
        allow(server, [])
        assert ask(path, OTHER) == "may not connect"
        assert path.stat().st_mode & 0o777 == 0o600


def allow(server: GwctlServer, users: list[str]) -> None:
    server.tables["control"] = {"allow_users": users}
    server.write_config()
    assert server.gwctl("reload", "-c", str(server.config)).returncode == 0


def test_the_folder_that_gwctl_makes_is_open_to_look_into(gwctl_server, public_folder: Path) -> None:
    """Where they find the socket without being told where it is. Whom it listens to is not changed by that."""
    environ = {"RUNTIME_DIRECTORY": str(public_folder)}
    with gwctl_server(BARE["sync"], worker="sync", environ=environ, **REFUSES) as server:
        folder = public_folder / "gwctl"
        assert folder.stat().st_mode & 0o777 == 0o700
        allow(server, ["nobody"])
        assert folder.stat().st_mode & 0o777 == 0o755
        assert ask(folder / "test.sock", NOBODY) == "test"
        allow(server, [])
        until(lambda: ask(folder / "test.sock", NOBODY) == "may not connect", "it to be closed")

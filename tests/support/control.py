"""A control server with nothing behind it, and a raw client, turned together by the test itself."""

from __future__ import annotations

import json
import selectors
import socket
from pathlib import Path
from typing import Any

from gwctl.control.protocol import Events, Method, Scale, Status
from gwctl.errors import BootError
from gwctl.log.event_log import Log
from gwctl.supervisor.control.follower import Follower
from gwctl.supervisor.control.server import ControlServer
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder
from tests.support.wait import until


class Master:
    """The loop of a master with nothing in it but the control server."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gwctl" / "shop.sock"
        self.log_path = folder / "log"
        self._log_file = self.log_path.open("ab")
        self.log = Log(self._log_file.fileno())
        self.selector = selectors.DefaultSelector()
        self.asked: list[tuple[int, Method]] = []
        self.status: dict[str, Any] = {"name": "shop"}
        self.now = 1000.0
        self.history = History.of("shop")
        self.server = ControlServer(
            self.path, Recorder(self.log, self.history), self.handle, lambda: self.now
        )

    def handle(self, request: int, method: Method, user: str) -> dict[str, Any] | Follower | None:
        self.asked.append((request, method))
        if isinstance(method, Events):
            return Follower.begin(self.history, method)
        if isinstance(method, Status):
            return self.status
        if isinstance(method, Scale) and method.pool == "nope":
            raise BootError("no pool 'nope'")
        return None

    def turn(self) -> None:
        for key, mask in self.selector.select(0):
            if self.selector.get_map().get(key.fd) is key:
                key.data(mask)
        self.server.turn(self.now)

    def until_asked(self, count: int) -> None:
        def asked() -> bool:
            self.turn()
            return len(self.asked) >= count

        until(asked, f"{count} requests")

    def close(self) -> None:
        self.server.close()
        self.selector.close()
        self._log_file.close()


class Peer:
    """A raw client, pumped together with the master."""

    def __init__(self, master: Master) -> None:
        self.master = master
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(master.path))
        self.sock.setblocking(False)
        self.received = b""
        self.closed = False

    def send(self, *objects: object) -> None:
        self.sock.sendall(b"".join(json.dumps(each).encode() + b"\n" for each in objects))

    def _pump(self, *, turn: bool = True) -> None:
        if turn:
            self.master.turn()
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self.closed = not data
        self.received += data

    def line(self, *, turn: bool = True) -> Any:
        """Return the next one; without ``turn`` somebody else has the master's loop."""

        def complete() -> bool:
            if b"\n" not in self.received:
                self._pump(turn=turn)
            return b"\n" in self.received

        until(complete, "a line from the master")
        line, _, self.received = self.received.partition(b"\n")
        return json.loads(line)

    def until_closed(self) -> None:
        def closed() -> bool:
            if not self.closed:
                self._pump()
            return self.closed

        until(closed, "the master to close the connection")


def request(method: str, number: object = 1, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}

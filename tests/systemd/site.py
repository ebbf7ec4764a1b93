"""A service in the box: an application, its gw.toml, and the units that gwctl writes for it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Self

from tests.support import toml_text
from tests.support.wait import until
from tests.systemd.box import Box

GWCTL = "/srv/gwctl/venv/bin/gwctl"
APP = """
import os, time

def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        open("/tmp/slow", "w").close()
        time.sleep(3)
    body = f"{VERSION} {os.getpid()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
ASK = """
import socket, sys
with socket.create_connection(("127.0.0.1", 8000), timeout=60) as sock:
    sock.sendall(b"GET %s HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n" % sys.argv[1].encode())
    received = b""
    while block := sock.recv(65536):
        received += block
print(received.partition(b"\\r\\n\\r\\n")[2].decode())
"""
LOAD = """
import json, os, socket, sys, threading

over, lock, counts, failures = threading.Event(), threading.Lock(), {}, []

def ask(path):
    while not over.wait(0.005):
        try:
            with socket.create_connection(("127.0.0.1", 8000), timeout=60) as sock:
                sock.sendall(b"GET %s HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n" % path.encode())
                received = b""
                while block := sock.recv(65536):
                    received += block
            if not received.startswith(b"HTTP/1.1 200") or b"one" not in received:
                raise ValueError(received)
            with lock:
                counts[path] = counts.get(path, 0) + 1
        except Exception as error:
            failures.append(f"{path}: {error!r}")

threads = [threading.Thread(target=ask, args=(path,)) for path in ("/", "/", "/slow")]
for thread in threads:
    thread.start()
print("begun", flush=True)
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
print(json.dumps({"counts": counts, "failures": failures[:5], "failed": len(failures)}))
"""


class Site:
    """One service; its unit is called ``gwctl-NAME``."""

    def __init__(self, box: Box, folder: Path, name: str) -> None:
        self.box, self.folder, self.name = box, folder, name
        self.place = f"/srv/gwctl/{name}"
        self.unit = f"gwctl-{name}"
        folder.mkdir()
        folder.chmod(0o755)
        self.pool: dict[str, Any] = {
            "app": "shop:application",
            "worker": "sync",
            "processes": 2,
            "bind": ["127.0.0.1:8000"],
            "reload": {"settle_s": 0.2},
        }
        self.master: dict[str, Any] = {}
        self.version("one")

    def version(self, name: str, before: str = "") -> None:
        """Put an application in its place; ``before`` runs when it is imported."""
        (self.folder / "shop.py").write_text(f"{before}\nVERSION = {name!r}\n{APP}", "utf-8")

    def write(self) -> None:
        tables = {"master": {"name": self.name, **self.master}, "pool": {"web": self.pool}}
        (self.folder / "gw.toml").write_text(toml_text.dumps(tables), "utf-8")

    def install(self, *options: str, drop_in: str = "") -> None:
        """Write gw.toml, and the units that gwctl makes of it."""
        self.write()
        self.box.says(GWCTL, "unit", "-c", f"{self.place}/gw.toml", "-o", "/run/systemd/system", *options)
        if drop_in:
            path = f"/run/systemd/system/{self.unit}.service.d"
            self.box.says("mkdir", "-p", path)
            self.box.says("sh", "-c", f"printf '{drop_in}' > {path}/test.conf")
        self.box.says("systemctl", "daemon-reload")

    def systemctl(self, verb: str) -> subprocess.CompletedProcess[str]:
        return self.box.run("systemctl", verb, self.unit)

    def start(self) -> None:
        done = self.systemctl("start")
        assert done.returncode == 0, f"{done.stderr}\n{self.journal()}"

    def gwctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.box.run(GWCTL, *arguments, "-c", f"{self.place}/gw.toml")

    def show(self, name: str) -> str:
        return self.box.show(f"{self.unit}.service", name)

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    def ask(self, path: str = "/") -> str:
        return self.box.says("python3", "-c", ASK, path)

    def journal(self, *options: str) -> str:
        return self.box.says("journalctl", "-u", self.unit, "--no-pager", *options)

    def entries(self, *options: str) -> list[dict[str, Any]]:
        """Those of the journal, with all of their fields."""
        return [json.loads(line) for line in self.journal("-o", "json", *options).splitlines()]

    def wait_for_another(self, pid: int) -> None:
        """Wait until another master than that one is ready."""

        def another() -> bool:
            return self.pid not in {0, pid} and self.show("ActiveState") == "active"

        until(another, lambda: f"another master:\n{self.journal()}")

    def load(self) -> Load:
        return Load(self)

    def remove(self) -> None:
        self.box.run("systemctl", "stop", f"{self.unit}.socket", self.unit)
        self.box.run("systemctl", "reset-failed", self.unit)
        self.box.says("sh", "-c", f"rm -rf /run/systemd/system/{self.unit}*; systemctl daemon-reload")


class Load:
    """Three who ask as long as the with-block lasts, one of them what takes three seconds."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.counts: dict[str, int] = {}
        self.failed = -1
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._site.box.command("python3", "-c", LOAD),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"
        return self

    def __exit__(self, *_exc: object) -> None:
        output, _ = self._process.communicate(timeout=90)
        result = json.loads(output)
        self.counts, self.failed, self.failures = result["counts"], result["failed"], result["failures"]

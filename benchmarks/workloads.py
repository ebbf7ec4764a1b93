"""What is asked of the servers.

A workload is one request, sent over and over, with the application that answers it in each
interface and the answer that is right. ``few`` names the contenders that `make bench` takes;
`--all` takes everybody who can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contenders import Contender

OURS = ("gwctl sync", "gwctl threads", "gwctl asgi")
COMPILED = tuple(f"{name}, compiled" for name in OURS)
SYNC_PEERS = ("gunicorn sync", "granian wsgi", "uwsgi", "fastpysgi wsgi", "bjoern")
THREADS_PEERS = ("gunicorn gthread", "granian wsgi, 8", "waitress")
ASGI_PEERS = ("gunicorn asgi", "uvicorn", "granian asgi", "hypercorn", "fastpysgi asgi")
# Those that the targets speak of, but for the slowest.
FEW = (*OURS, *COMPILED, "granian wsgi", "bjoern", "granian wsgi, 8", "uvicorn", "granian asgi")


@dataclass(frozen=True, eq=False)
class Workload:
    """``answer`` is the body that is right; ``is_json``: any spelling of the same document is.

    ``apps`` maps an interface to its application. An empty ``few`` means everybody.
    """

    name: str
    title: str
    apps: Mapping[str, str]
    answer: bytes
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_json: bool = False
    framework: str = ""
    access_log: bool = False
    few: tuple[str, ...] = FEW

    def can(self, contender: Contender) -> bool:
        """Whether it makes sense: nginx stands for hello world, as does our other parser."""
        if self.access_log and not contender.access_log:
            return False
        if contender.kind == "limit":
            return self.answer == HELLO and not self.headers
        if contender.variant and self.name != "hello":
            return False
        return contender.interface in self.apps

    def lua(self) -> str:
        """The script that makes wrk send this request: read once, so it costs nothing for each request."""
        lines = [f"wrk.method = {lua_string(self.method)}"]
        lines += [f"wrk.headers[{lua_string(k)}] = {lua_string(v)}" for k, v in self.headers.items()]
        if self.body:
            lines.append(f"wrk.body = {lua_string(self.body.decode())}")
        return "\n".join(lines) + "\n"

    def script(self, folder: Path) -> Path | None:
        """Write `lua` to a file; None for a plain GET, which needs none."""
        if self.method == "GET" and not self.headers and not self.body:
            return None
        path = folder / f"{self.name}.lua"
        path.write_text(self.lua(), "utf-8")
        return path


def lua_string(text: str) -> str:
    """``text`` as a quoted string of Lua (printable ASCII and line ends are what requests need)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def both(module: str, suffix: str = "") -> dict[str, str]:
    return {"wsgi": f"{module}:wsgi{suffix}", "asgi": f"{module}:asgi{suffix}"}


HELLO = b"Hello, world!"
KIB = b"0123456789abcdef" * 64

# As a desktop browser sends them (Host comes from wrk), with the cookies of a session and a counter.
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "https://shop.example.com/catalogue/garden?page=3",
    "Cookie": "sessionid=kq3v0yw8z5m1x2c4r6t7u9i0o8p5a3sd; csrftoken=Zt8Q2bYx0LkWvJ5nRmP3; _ga=GA1.1.18",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
}

LINES = [
    {
        "sku": f"GW-{number:04}",
        "name": f"Garden gnome number {number}",
        "quantity": number % 4 + 1,
        "cents": 995,
    }
    for number in range(27)
]
ORDER = json.dumps(
    {"order": 4711, "customer": "Ada Lovelace", "lines": LINES}, separators=(",", ":")
).encode()
ORDER_ANSWER = json.dumps(
    {"order": 4711, "lines": len(LINES), "cents": sum((n % 4 + 1) * 995 for n in range(27))}
).encode()

VIEW = "/items/42?q=gnome"
VIEW_ANSWER = b'{"item": 42, "q": "gnome"}'
SYNC_AND_THREADS = (*OURS[:2], *COMPILED[:2], *SYNC_PEERS, *THREADS_PEERS)

WORKLOADS = (
    Workload("hello", "hello world", both("hello"), HELLO, few=()),
    Workload("browser", "a browser's ten headers and a cookie", both("hello"), HELLO, headers=BROWSER),
    Workload(
        "post",
        "2 KiB of JSON posted, JSON answered",
        both("echo"),
        ORDER_ANSWER,
        method="POST",
        headers={"Content-Type": "application/json"},
        body=ORDER,
        is_json=True,
    ),
    Workload("10k", "a response of 10 KiB", both("large", "_10k"), 10 * KIB),
    Workload("1m", "a response of 1 MiB", both("large", "_1m"), 1024 * KIB),
    Workload(
        "flask",
        "a Flask view",
        {"wsgi": "flask_view:wsgi"},
        VIEW_ANSWER,
        path=VIEW,
        is_json=True,
        framework="Flask",
        few=SYNC_AND_THREADS,
    ),
    Workload(
        "django",
        "a Django view",
        both("django_view"),
        VIEW_ANSWER,
        path=VIEW,
        is_json=True,
        framework="Django",
        few=SYNC_AND_THREADS,
    ),
    Workload(
        "fastapi",
        "a FastAPI view",
        {"asgi": "fastapi_view:asgi"},
        VIEW_ANSWER,
        path=VIEW,
        is_json=True,
        framework="fastapi",
        few=(OURS[2], COMPILED[2], *ASGI_PEERS),
    ),
    Workload(
        "log",
        "hello world with the access log on",
        both("hello"),
        HELLO,
        access_log=True,
        few=(*OURS, *COMPILED, "gunicorn gthread", "granian wsgi", "uvicorn"),
    ),
)
BY_NAME = {workload.name: workload for workload in WORKLOADS}
HELLO_WORLD = BY_NAME["hello"]
# `make bench-quick`: hello world for ours and for those that the targets name.
QUICK = (*FEW, "gunicorn sync", "gunicorn gthread", "fastpysgi wsgi", "fastpysgi asgi")

"""An application that does whatever it can to its master and to its neighbours.

GET /                 hello
GET /pid              the worker's pid
GET /attack/NAME      makes one attack, and answers with what it could do
GET /memory           how often another pool's token is in the worker's memory
GET /held             what the process has mapped and holds, a line each

Attacks are plain functions: each tries all that it names, ignores what the kernel refuses, and returns
a word about what it could do. ``SECRET`` in the target or a header is what neighbours must not find.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import math
import os
import random
import re
import resource
import signal
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

DICE = random.Random()
STDERR = 2
WORD = 8


def RIGHTS(fds: list[int]) -> tuple[int, int, array.array[int]]:  # noqa: N802 - as the kernel calls them
    return (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))


RECORD_BYTES = 512
FORKING: list[bool] = []
ATTACKS: dict[str, Callable[[], str]] = {}


def attack(function: Callable[[], str]) -> Callable[[], str]:
    ATTACKS[function.__name__] = function
    return function


# ---- what there is


def held() -> dict[int, str]:
    """Descriptors over stderr, and what they are."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if int(path.name) > STDERR:
                found[int(path.name)] = str(path.readlink())
    return found


def boards() -> Iterator[tuple[int, int]]:
    """Address and length of each scoreboard that is mapped."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-s .*gwctl-scoreboard", line):
            start, end = (int(each, 16) for each in match.groups())
            yield start, end - start


def records() -> Iterator[int]:
    """Addresses of the records that a worker has or had."""
    for start, length in boards():
        for at in range(start, start + length, RECORD_BYTES):
            if any(ctypes.string_at(at + 3 * WORD, WORD)):  # a pid
                yield at


def is_file(fd: int) -> bool:
    with suppress(OSError):
        return stat.S_ISREG(os.fstat(fd).st_mode)
    return False


# ---- shared memory


@attack
def truncate() -> str:
    """Every descriptor, as it is and opened anew, to nothing and to a little."""
    done = 0
    for fd, what in held().items():
        if "gwctl-dump" in what or not is_file(fd):
            continue
        before = os.fstat(fd).st_size
        for size in (0, 1, 700):
            with suppress(OSError):
                os.ftruncate(fd, size)
                done += os.fstat(fd).st_size != before
        with suppress(OSError):
            os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_TRUNC))
            done += os.fstat(fd).st_size != before
    return f"{done} truncated"


@attack
def scribble() -> str:
    """Random bytes over all that is shared memory."""
    done = 0
    for start, length in boards():
        data = DICE.randbytes(min(length, 64 * RECORD_BYTES))
        ctypes.memmove(start, data, len(data))
        done += 1
    return f"{done} boards"


def _tell(field: int, value: float) -> str:
    """Write one time into every record, our own and those of siblings."""
    done = 0
    for at in records():
        ctypes.memmove(at + field * WORD, struct.pack("d", value), WORD)
        done += 1
    return f"{done} records"


@attack
def busy_since_long_ago() -> str:
    return _tell(40, 1.0)


@attack
def busy_in_the_future() -> str:
    return _tell(40, time.monotonic() + 3600)


@attack
def heartbeats_of_no_time() -> str:
    return _tell(0, math.nan)


# ---- sockets


def sockets() -> Iterator[socket.socket]:
    """A copy of each Unix socket but those that listen: channel and exchange among them."""
    found = list(held().items())
    DICE.shuffle(found)
    for fd, what in found:
        if what.startswith("socket:"):
            with suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
                listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if sock.family == socket.AF_UNIX and not listens:
                    yield sock


def flood(data: bytes, fds: list[int], times: int) -> str:
    """Write ``data`` to each, again and again, with descriptors."""
    done = 0
    for sock in sockets():
        for _ in range(times):
            try:
                done += sock.sendmsg([data], [RIGHTS(fds)] if fds else [], socket.MSG_DONTWAIT)
            except OSError:
                time.sleep(0.001)  # for the master to read
    return f"{done} bytes"


@attack
def no_line() -> str:
    return flood(b"x" * 60_000, [], 60)


@attack
def random_bytes() -> str:
    return flood(DICE.randbytes(50_000), [], 20)


@attack
def lines_of_any_bytes() -> str:
    return flood(b"\n".join(DICE.randbytes(40) for _ in range(500)), [], 5)


@attack
def a_line_of_great_depth() -> str:
    return flood(b'{"t":"stage","name":"x","more":' + b"[" * 90_000, [], 3) + flood(b"]\n", [], 100)


@attack
def many_messages() -> str:
    return flood(b'{"t":"stage","name":"import"}\n' * 1000, [], 20)


@attack
def ready_again() -> str:
    return flood(
        b'{"t":"ready","worker_class":"sync","import_s":1,"boot_s":1,"memory_bytes":1,"parser":"","loop":""}\n',
        [],
        50,
    )


@attack
def many_descriptors() -> str:
    """Now and then few messages at a time: a busy master is not to give up for their number first."""
    if DICE.random() < 0.5:
        said = flood(b'{"t":"stage","name":"x"}\n', [0] * 200, 2)
        time.sleep(0.3)
        return said
    return flood(b'{"t":"stage","name":"x"}\n', [0] * DICE.choice([1, 8, 200]), 100)


PLAUSIBLE = (
    b'{"t":"stage","name":"import"}',
    b'{"t":"failed","kind":"import","message":"none","traceback":""}',
    b'{"t":"failed","kind":"boot","message":"none","traceback":"x"}',
    b'{"t":"obeyed","serving":true}',
    b'{"t":"obeyed","serving":false}',
    b'{"t":"draining","connections":3,"requests":2}',
    b'{"t":"drained","cut":5}',
    b'{"t":"gave_up","request":"GET /","age_s":9.5}',
    b'{"t":"told","requests":[{"what":"GET /","age_s":1,"thread":0}],"tasks":[]}',
)


@attack
def plausible_messages() -> str:
    """What a worker may say, when it is not so."""
    return flood(DICE.choice(PLAUSIBLE) + b"\n", [], 1)


@attack
def messages_of_others() -> str:
    return flood(b'{"t":"forked","worker":1,"pid":1}\n{"t":"serve"}\n', [], 1)


@attack
def shut_down_channels() -> str:
    count = 0
    for sock in sockets():
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
            count += 1
    return f"{count} shut down"


@attack
def shut_down_listeners() -> str:
    count = 0
    for fd, what in held().items():
        with suppress(OSError):
            if what.startswith("socket:"):
                sock = socket.socket(fileno=os.dup(fd))
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    sock.shutdown(socket.SHUT_RDWR)
                    count += 1
                sock.close()
    return f"{count} shut down"


@attack
def flip_blocking() -> str:
    """The flags of an open file belong to all who hold it."""
    for fd in (1, 2, *held()):
        with suppress(OSError):
            os.set_blocking(fd, not os.get_blocking(fd))
            os.set_blocking(fd, DICE.random() < 0.5)
    return "flipped"


@attack
def junk_for_siblings() -> str:
    return flood(b'{"listener":"x","peer":null}\n', [0], 50) + flood(b"[" * 9000, [1, 2], 20)


# ---- descriptors


@attack
def close_everything() -> str:
    os.closerange(3, 1000)
    return "closed"


@attack
def mix_descriptors() -> str:
    fds = list(held())
    for _ in range(10):
        with suppress(OSError):
            os.dup2(DICE.choice(fds), DICE.choice(fds))
    return "mixed"


@attack
def write_anywhere() -> str:
    """Random bytes to files, memory files and pipes; also what the stacks are written to."""
    done = 0
    for fd, what in held().items():
        if "socket:" in what or what.startswith("/dev/"):
            continue
        with suppress(OSError):
            os.set_blocking(fd, False)
            done += os.write(fd, DICE.randbytes(200_000))
            os.lseek(fd, DICE.randrange(1 << 20), os.SEEK_SET)
    return f"{done} bytes"


@attack
def lock_everything() -> str:
    done = 0
    for fd in held():
        with suppress(OSError):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            done += 1
    return f"{done} locked"


# ---- processes


def others() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


@attack
def signal_everybody() -> str:
    """Only where that is another user's: what one user does to itself nobody can prevent."""
    mine = {os.getpid(), os.getppid()} if os.getuid() == 0 else set()
    done = 0
    for pid in others():
        uid = -1
        with suppress(OSError):
            uid = Path(f"/proc/{pid}").stat().st_uid
        if pid in mine or uid == os.getuid() or pid <= 1:
            continue
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
            with suppress(OSError):
                os.kill(pid, number)
                done += 1
    return f"{done} signals"


@attack
def change_limits() -> str:
    """Of the master first, then our own."""
    done = 0
    for kind, value in (
        (resource.RLIMIT_NOFILE, 10),
        (resource.RLIMIT_AS, 1 << 20),
        (resource.RLIMIT_CPU, 1),
    ):
        with suppress(OSError, ValueError):
            resource.prlimit(os.getppid(), kind, (value, value))
            done += 1
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return f"{done} of the master's"


@attack
def look_into_the_master() -> str:
    """Memory, environment, descriptors; and to be its tracer."""
    done, folder = [], Path("/proc") / str(os.getppid())
    for name in ("mem", "environ", "fd", "maps"):
        with suppress(OSError):
            if name == "fd":
                done += [str(path.readlink()) for path in (folder / name).iterdir()]
            else:
                with (folder / name).open("rb") as file:
                    done.append(f"{name} {len(file.read(100))}")
    with suppress(OSError):
        os.close(os.open(folder / "mem", os.O_RDWR))
        done.append("mem to write")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, os.getppid(), 0, 0) == 0:  # PTRACE_ATTACH
        libc.ptrace(17, os.getppid(), 0, 0)
        done.append("traced")
    return " ".join(done) or "nothing"


def _child(seconds: float, *, orphan: bool) -> None:
    FORKING.append(True)  # what runs at a fork leaves these alone
    pid = os.fork()
    if pid:
        FORKING.pop()
    else:
        if orphan and os.fork():
            os._exit(0)
        time.sleep(seconds)
        os._exit(0)
    if orphan:
        with suppress(OSError):
            os.waitpid(pid, 0)


@attack
def fork_holders() -> str:
    """Children that hold everything for a while, also as orphans."""
    with suppress(OSError):
        for orphan in (False, True, True):
            _child(0.7, orphan=orphan)
    return "forked"


@attack
def fork_many() -> str:
    with suppress(OSError):
        for _ in range(40):
            _child(0.0, orphan=True)
    return "forked"


@attack
def end() -> str:
    os._exit(DICE.choice([0, 1, 3, 4, 77]))


@attack
def crash() -> str:
    os.kill(os.getpid(), DICE.choice([signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL]))
    return "not yet"


@attack
def cut_off_stderr() -> str:
    os.ftruncate(STDERR, 0)
    return "cut off"


def found_in_memory(what: re.Pattern[bytes]) -> int:
    """How often it stands in what this process can read of itself."""
    count = 0
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for line in Path("/proc/self/maps").read_text().splitlines():
            place, rights = line.split()[:2]
            start, end = (int(each, 16) for each in place.split("-"))
            if rights.startswith("rw") and end - start < 1 << 28:
                with suppress(OSError):
                    memory.seek(start)
                    count += len(what.findall(memory.read(end - start)))
    return count


# ---- answers


def answer(target: str) -> str:
    path = target.partition("?")[0]
    if path == "/pid":
        return str(os.getpid())
    if path == "/held":
        maps = {
            line.split(None, 5)[-1]
            for line in Path("/proc/self/maps").read_text().splitlines()
            if " rw-s " in line
        }
        return "\n".join(
            [*(f"mapped {each}" for each in sorted(maps)), *(f"{fd} {what}" for fd, what in held().items())]
        )
    if path == "/find":
        return str(sum(b"SECRET" in ctypes.string_at(start, length) for start, length in boards()))
    if path == "/memory":
        return str(found_in_memory(re.compile(rb"OF-THE-OTHER-P[O]{2}L")))  # which does not find itself
    if path.startswith("/attack/"):
        return ATTACKS[path.removeprefix("/attack/")]()
    return "hello"


def application(environ, start_response):
    body = answer(environ["PATH_INFO"]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    body = answer(scope["path"]).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""What a master writes in folders of others is written there and nowhere else."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gwctl.control.paths import NoRuntimeDirectoryError, make_folder
from gwctl.errors import BindError, GwctlError
from gwctl.safe_files import RefusedPlaceError, as_owner, open_to_append, reach
from gwctl.supervisor.generations.access_logs import AccessLogs
from gwctl.supervisor.listeners import unix_socket
from gwctl.supervisor.listeners.unix_socket import Access, bind
from gwctl.supervisor.service import pidfile
from gwctl.supervisor.service.pidfile import Pidfile
from tests.support.wait import until

SHOP, OTHER = 12345, 23456
WANTED = 20

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="gives folders and files to other users: needs root"
)


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder of root's, which others may enter. Not one of pytest's, to which only its user has access."""
    with tempfile.TemporaryDirectory(prefix="gwctl-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def victim(top: Path) -> Path:
    """What only root may write, and nobody shall have root write."""
    folder = top / "secret"
    folder.mkdir(mode=0o700)
    file = folder / "file"
    file.write_text("precious\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def theirs(top: Path) -> Path:
    """A folder of the workers' user."""
    folder = top / "shop"
    folder.mkdir()
    os.chown(folder, SHOP, SHOP)
    return folder


@pytest.fixture
def shared(top: Path) -> Path:
    """Like /tmp."""
    folder = top / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def write(path: Path, text: str = "line\n") -> None:
    fd = open_to_append(path, 0o640)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def owned(path: Path, uid: int) -> Path:
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


def a_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def a_link_of_root(path: Path, victim: Path) -> None:
    path.symlink_to(victim)
    assert path.lstat().st_uid == 0


def a_link_to_nothing(path: Path, victim: Path) -> None:
    path.symlink_to(victim.parent / "new")


def a_link_to_a_link(path: Path, victim: Path) -> None:
    path.with_name("more").symlink_to(victim)
    path.symlink_to("more")


def a_hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def a_pipe(path: Path, _victim: Path) -> None:
    os.mkfifo(path)


def a_pipe_with_a_reader(path: Path, _victim: Path) -> None:
    os.mkfifo(path)
    os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def a_folder(path: Path, _victim: Path) -> None:
    path.mkdir()


def a_socket(path: Path, _victim: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def a_device(path: Path, _victim: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))


def a_file_of_a_third(path: Path, _victim: Path) -> None:
    path.write_text("")
    os.chown(path, OTHER, OTHER)


TRAPS = [
    a_link,
    a_link_to_nothing,
    a_link_to_a_link,
    a_hard_link,
    a_pipe,
    a_pipe_with_a_reader,
    a_folder,
    a_socket,
    a_device,
    a_file_of_a_third,
]


@pytest.mark.parametrize("place", ["theirs", "shared", "deep"])
@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_a_log_is_not_written_through(
    trap: Callable[[Path, Path], None], place: str, theirs: Path, shared: Path, victim: Path
) -> None:
    """In a folder of the workers' user, in one like /tmp, and in root's folder below the user's."""
    folder = shared if place == "shared" else theirs
    if place == "deep":
        folder = theirs / "deep"
        folder.mkdir()
    path = folder / "access.log"
    trap(path, victim)
    if path.is_symlink():
        owned(path, SHOP)
    with pytest.raises(OSError, match=r".") as caught:
        write(path)
    assert isinstance(caught.value, RefusedPlaceError), caught.value
    assert "use a folder in which nobody else may write" in caught.value.reason
    assert victim.read_text() == "precious\n"
    assert sorted(each.name for each in victim.parent.iterdir()) == ["file"]


def test_a_link_of_roots_own_in_a_folder_of_theirs_is_not_followed_either(theirs: Path, victim: Path) -> None:
    """Its owner may have moved it there."""
    a_link_of_root(theirs / "access.log", victim)
    with pytest.raises(RefusedPlaceError, match=r"access\.log is a symbolic link.*belongs to uid 12345"):
        write(theirs / "access.log")


@pytest.mark.parametrize("name", ["logs/access.log", "logs/../logs/access.log", "logs/more/access.log"])
def test_a_folder_that_is_a_link_is_refused(name: str, theirs: Path, victim: Path) -> None:
    (victim.parent / "more").mkdir()
    (theirs / "logs").symlink_to(victim.parent)
    with pytest.raises(RefusedPlaceError, match="logs is a symbolic link"):
        write(theirs / name)
    assert not list(victim.parent.rglob("access.log"))


def test_a_link_of_somebody_in_a_shared_folder_is_refused_and_roots_is_followed(
    shared: Path, victim: Path
) -> None:
    owned(shared / "link", SHOP) if (shared / "link").exists() else (shared / "link").symlink_to(
        victim.parent
    )
    write(shared / "link" / "log")
    owned(shared / "link", SHOP)
    with pytest.raises(RefusedPlaceError, match="others may write in its folder"):
        write(shared / "link" / "log")
    assert (victim.parent / "log").read_text() == "line\n"


EXCHANGE = """
import os, sys
one, other, aside = sys.argv[1:]
print("ready", flush=True)
while os.getppid() == int(os.environ["TESTS"]):
    os.rename(one, aside)
    os.rename(other, one)
    os.rename(aside, other)
"""


@contextmanager
def exchanging(one: Path, other: Path) -> Iterator[None]:
    """``one`` and ``other`` change places all the time. By a process of its own: rights are one for all threads."""
    command = [sys.executable, "-c", EXCHANGE, str(one), str(other), str(one.with_name("aside"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"TESTS": str(os.getpid())}) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


def repeat(attempt: Callable[[], object]) -> None:
    """Try until it has worked some times and failed some times, so that both were there to be met."""
    outcomes = {True: 0, False: 0}

    def enough() -> bool:
        for _ in range(WANTED):
            try:
                attempt()
                outcomes[True] += 1
            except (OSError, GwctlError):
                outcomes[False] += 1
        return min(outcomes.values()) > WANTED

    until(enough, lambda: f"attempts that work and that fail: {outcomes}")


def test_a_folder_exchanged_for_a_link_between_check_and_use(theirs: Path, victim: Path) -> None:
    """Of some hundred attempts, each either writes to the folder or refuses; none follows the link."""
    inner = theirs / "logs"
    inner.mkdir()
    owned(inner, SHOP)
    link = theirs / "link"
    link.symlink_to(victim.parent)
    path, sock, pid = inner / "a.log", inner / "web.sock", inner / "pid"

    def listen() -> None:
        made = bind(sock, Access(0o666, SHOP, SHOP), 8)
        made.unlink()
        made.sock.close()

    with exchanging(inner, link):
        repeat(lambda: write(path))
        repeat(lambda: Pidfile.write(pid).remove())
        repeat(listen)
    assert sorted(each.name for each in victim.parent.iterdir()) == ["file"]
    assert victim.stat().st_uid == 0


def test_a_name_exchanged_for_a_hard_link_between_check_and_use(theirs: Path, victim: Path) -> None:
    path, link = theirs / "a.log", theirs / "link"
    path.write_text("")
    link.hardlink_to(victim)
    with exchanging(path, link):
        repeat(lambda: write(path))
    assert victim.read_text() == "precious\n"


def test_what_is_allowed_in_a_folder_of_theirs(theirs: Path) -> None:
    """A new file, root's of before, and one that a rotation made for the user."""
    path = theirs / "access.log"
    write(path)
    assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (0, 0o640)
    write(path)
    owned(path, SHOP)
    write(path)
    assert path.read_text() == "line\n" * 3


def test_what_is_allowed_in_a_folder_of_roots(top: Path, victim: Path) -> None:
    """Links, pipes and files of anybody: only root can have put them there."""
    folder = top / "log"
    folder.mkdir()
    (folder / "link").symlink_to(victim)
    write(folder / "link")
    assert victim.read_text() == "precious\nline\n"
    (folder / "relative").symlink_to("../secret/file")
    write(folder / "relative")
    (folder / "round").symlink_to("round")
    with pytest.raises(OSError, match="Too many levels"):
        write(folder / "round")
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write(folder / "pipe")
    assert os.read(reader, 100) == b"line\n"
    os.close(reader)
    (folder / "theirs").write_text("")
    owned(folder / "theirs", OTHER)
    write(folder / "theirs")


def test_a_group_may_have_its_files_where_it_may_write(top: Path) -> None:
    """/var/log of some systems: root's, and a group's. Files of anybody, but no second names."""
    folder = top / "log"
    folder.mkdir()
    os.chown(folder, 0, OTHER)
    folder.chmod(0o775)
    path = folder / "access.log"
    path.write_text("")
    owned(path, SHOP)
    write(path)
    (folder / "more").hardlink_to(path)
    with pytest.raises(RefusedPlaceError, match="2 names"):
        write(path)


def test_names_of_open_descriptors_still_work(top: Path) -> None:
    """/dev/stdout of a container, and what a starter has opened."""
    read, inherited = os.pipe()
    (top / "out").symlink_to(f"/proc/self/fd/{inherited}")
    for path in (Path(f"/dev/fd/{inherited}"), Path(f"/proc/self/fd/{inherited}"), top / "out"):
        write(path)
        assert os.read(read, 100) == b"line\n"
    os.close(read)
    os.close(inherited)


def test_a_missing_folder_and_a_name_that_is_a_folder(top: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(top / "no" / "log")
    (top / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write(top / "folder")
    with pytest.raises(IsADirectoryError):
        write(top / "..")
    with pytest.raises(NotADirectoryError):
        (top / "file").write_text("")
        write(top / "file" / "log")


def test_who_is_not_root_has_nothing_to_lose(theirs: Path, victim: Path) -> None:
    """A deploying user's link to the current release is followed; a shared folder is not trusted."""
    (theirs / "current").symlink_to("release")
    (theirs / "release").mkdir(mode=0o777)
    (theirs / "release").chmod(0o1777)
    shared = theirs / "release" / "link"
    shared.symlink_to(victim)
    owned(shared, SHOP)
    theirs.parent.chmod(0o755)
    pid = os.fork()
    if not pid:
        try:
            os.setresuid(OTHER, OTHER, OTHER)
            write(theirs / "current" / "log")
            with pytest.raises(RefusedPlaceError):
                write(theirs / "current" / "link")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (theirs / "release" / "log").read_text() == "line\n"


def test_the_log_says_what_was_refused_and_the_old_file_stays(theirs: Path, victim: Path) -> None:
    path = theirs / "access.log"
    logs = AccessLogs()
    logs.open([str(path)])
    path.rename(theirs / "access.log.1")
    path.symlink_to(victim)
    fd = logs.descriptor(str(path))
    before = os.fstat(fd)
    reopened, failures = logs.reopen()
    assert reopened == {}
    assert os.path.samestat(os.fstat(fd), before)
    (failure,) = failures
    assert failure == (
        f"cannot write the access log {path}: access.log is a symbolic link, and a folder on the way belongs to "
        f"uid {SHOP}: whoever put it there would choose where uid 0 (root) writes. "
        "Remove it, or use a folder in which nobody else may write"
    )
    logs.keep_only([])


# ---- pid file


@pytest.mark.parametrize("place", ["theirs", "shared"])
def test_a_pid_file_made_before_is_not_taken_over(
    place: str, theirs: Path, shared: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the file itself nor the name under which it is made, should somebody guess that."""
    folder = theirs if place == "theirs" else shared
    path = folder / "shop.pid"
    path.write_text("")
    path.chmod(0o666)
    owned(path, SHOP)
    for name in (f".shop.pid.{os.getpid()}", f".shop.pid.{os.getpid()}.{'00' * 8}"):
        (folder / name).write_text("")
        owned(folder / name, SHOP)
    held = Pidfile.write(path)
    assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode) & 0o022) == (0, 0)
    assert path.read_text() == f"{os.getpid()}\n"
    held.remove()
    assert not path.exists()
    monkeypatch.setattr(os, "urandom", bytes)
    with pytest.raises(GwctlError, match="File exists"):
        Pidfile.write(path)
    guessed = folder / f".shop.pid.{os.getpid()}.{'00' * 8}"
    guessed.unlink()
    guessed.symlink_to(victim)
    with pytest.raises(GwctlError, match="File exists"):
        Pidfile.write(path)
    assert victim.read_text() == "precious\n"


def test_a_pid_file_exchanged_at_the_last_moment_is_noticed(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared / "shop.pid"
    real = pidfile._put_in_place

    def put(place: object, draft: str) -> None:
        real(place, draft)  # type: ignore[arg-type]
        path.unlink()
        path.write_text("77\n")

    monkeypatch.setattr(pidfile, "_put_in_place", put)
    with pytest.raises(GwctlError, match="somebody replaced the pid file"):
        Pidfile.write(path)
    assert [each.name for each in shared.iterdir()] == ["shop.pid"]


@pytest.mark.parametrize("trap", [a_link, a_pipe, a_pipe_with_a_reader, a_folder, a_socket, a_device])
def test_a_pid_file_that_is_no_file_is_left_alone(
    trap: Callable[[Path, Path], None], theirs: Path, victim: Path
) -> None:
    path = theirs / "shop.pid"
    trap(path, victim)
    with pytest.raises(GwctlError, match="exists and is not a file"):
        Pidfile.write(path)
    assert [each.name for each in theirs.iterdir()] == ["shop.pid"]
    assert victim.read_text() == "precious\n"


# ---- Unix sockets


def test_a_socket_in_a_folder_of_theirs(theirs: Path) -> None:
    made = bind(theirs / "web.sock", Access(0o660, OTHER, OTHER), 8)
    found = (theirs / "web.sock").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (OTHER, OTHER, 0o660)
    assert made.can_be_reached
    assert (os.geteuid(), os.getegid()) == (0, 0)
    made.unlink()
    assert not list(theirs.iterdir())
    made.sock.close()
    theirs.parent.chmod(0o700)
    with pytest.raises(BindError, match=r"uid 12345, to whom a folder on the way belongs, may not make it"):
        bind(theirs / "web.sock", Access(), 8)


def test_a_socket_is_not_made_through_a_link(theirs: Path, victim: Path) -> None:
    (theirs / "run").symlink_to(victim.parent)
    with pytest.raises(BindError, match="run is a symbolic link"):
        bind(theirs / "run" / "web.sock", Access(), 8)
    assert [each.name for each in victim.parent.iterdir()] == ["file"]


def test_a_folder_exchanged_right_before_bind(
    theirs: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check is passed, then the folder becomes a link: the kernel refuses, as it would its owner."""
    run = theirs / "run"
    run.mkdir()
    owned(run, SHOP)
    real = unix_socket._clear_way

    def clear(place: object) -> None:
        real(place)  # type: ignore[arg-type]
        run.rename(theirs / "aside")
        run.symlink_to(victim.parent)

    monkeypatch.setattr(unix_socket, "_clear_way", clear)
    with pytest.raises(BindError):
        bind(run / "web.sock", Access(), 8)
    assert [each.name for each in victim.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("names", [1, 2])
def test_somebody_elses_socket_is_not_given_away(
    names: int, theirs: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put in the place of the one just made, it keeps its owner and its mode."""
    precious = victim.parent / "docker.sock"
    a_socket(precious, victim)
    precious.chmod(0o600)
    path = theirs / "web.sock"

    class Exchanging(socket.socket):
        def bind(self, address: object) -> None:
            super().bind(address)  # type: ignore[arg-type]
            os.seteuid(0)  # as a neighbour where hard links are not protected
            path.unlink()
            path.hardlink_to(precious)
            if names == 1:
                precious.unlink()
            os.seteuid(SHOP)

    monkeypatch.setattr(unix_socket.socket, "socket", Exchanging)
    with pytest.raises(BindError, match="somebody replaced the socket just made"):
        bind(path, Access(0o666, SHOP, SHOP), 8)
    found = path.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)


def test_a_socket_is_removed_only_in_the_folder_it_was_made_in(theirs: Path, victim: Path) -> None:
    run = theirs / "run"
    run.mkdir()
    owned(run, SHOP)
    made = bind(run / "file", Access(), 8)
    run.rename(theirs / "aside")
    run.symlink_to(victim.parent)
    assert not made.can_be_reached
    made.unlink()
    with pytest.raises(BindError):
        made.set_access(Access(0o666, SHOP, SHOP))
    assert victim.read_text() == "precious\n"
    assert victim.stat().st_uid == 0
    made.sock.close()


def test_rights_come_back_whatever_happens(theirs: Path) -> None:
    groups = os.getgroups()
    with reach(theirs / "x") as place, suppress(RuntimeError), as_owner(place) as maker:
        assert (maker, os.geteuid(), os.getegid(), os.getgroups()) == (SHOP, SHOP, SHOP, [])
        raise RuntimeError
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, 0, groups)


# ---- the control socket's folder


def test_no_control_socket_where_somebody_could_exchange_its_folder(theirs: Path, victim: Path) -> None:
    with pytest.raises(
        NoRuntimeDirectoryError, match=r"in a folder of uid 12345, who could replace the socket"
    ):
        make_folder(theirs / "gwctl")
    (theirs / "link").symlink_to(victim.parent)
    with pytest.raises(NoRuntimeDirectoryError, match="link is a symbolic link"):
        make_folder(theirs / "link")
    with pytest.raises(NoRuntimeDirectoryError, match="exists and is not a folder"):
        make_folder(victim)


@pytest.mark.parametrize(("gid", "refused"), [(0, False), (OTHER, True)])
def test_a_control_folder_that_a_group_may_write_in(gid: int, refused: bool, top: Path) -> None:
    """Refused if the group is somebody else's, a warning if it is our own."""
    folder = top / "gwctl"
    folder.mkdir()
    os.chown(folder, 0, gid)
    folder.chmod(0o770)
    text = f"group {gid}.* may write in {folder}, and replace the control socket: chmod it to 700"
    if refused:
        with pytest.raises(NoRuntimeDirectoryError, match=text):
            make_folder(folder)
    else:
        assert make_folder(folder).startswith("group 0 (root) may write in")
    folder.chmod(0o750)
    assert not make_folder(folder)


def test_a_control_folder_in_one_where_a_group_may_rename_it(top: Path) -> None:
    os.chown(top, 0, OTHER)
    top.chmod(0o775)
    assert make_folder(top / "gwctl").startswith("others may rename")
    top.chmod(0o1775)
    assert not make_folder(top / "gwctl")

"""A control group for each worker, in a real tree of groups: a child of the test goes into a group and arranges it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gwctl.supervisor.groups.delegated import NoGroupsError, WorkerGroups
from tests.support.fake_machine import Machine
from tests.support.wait import until


def mounted() -> tuple[Path, str] | None:
    """Where version 2 is mounted, and a controller that it has."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, _, tail = line.partition(" - ")
        if tail.startswith("cgroup2 "):
            point = Path(head.split()[4])
            names = (point / "cgroup.controllers").read_text().split()
            chosen = "memory" if "memory" in names else next(iter(names), "")
            return (point, chosen) if chosen else None
    return None


@pytest.fixture
def place() -> Iterator[tuple[Path, str]]:
    """A group that was delegated, and the controller to ask for. The groups above it enable that."""
    found = mounted()
    if found is None or os.geteuid() != 0:
        pytest.skip("this takes root, and control groups of version 2")
    point, controller = found
    with (Path(tempfile.gettempdir()) / "gwctl-test-groups.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # what is enabled is so for all of the machine
        yield from delegated(point, controller)


def delegated(point: Path, controller: str) -> Iterator[tuple[Path, str]]:
    top = point / f"gwctl-test-{uuid.uuid4().hex[:8]}"
    before = (point / "cgroup.subtree_control").read_text().split()
    try:
        (point / "cgroup.subtree_control").write_text(f"+{controller}")
        top.mkdir()
        os.setxattr(top, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"no control group can be delegated here: {error}")
    yield top, controller
    until(lambda: not (top / "cgroup.procs").read_text().split(), "the group to be empty")
    for folder in [*top.glob("*/"), top]:
        folder.rmdir()
    if controller not in before:
        (point / "cgroup.subtree_control").write_text(f"-{controller}")


def in_group(group: Path, act: Callable[[], None]) -> None:
    """Run ``act`` in a child that is in the group."""
    group.mkdir(exist_ok=True)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            (group / "cgroup.procs").write_text(str(os.getpid()))
            act()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def group_of(pid: int) -> str:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line.removeprefix("0::") for line in lines if line.startswith("0::"))


def test_master_and_workers_get_groups_which_go_with_them(place: tuple[Path, str]) -> None:
    top, controller = place

    def act() -> None:
        groups = WorkerGroups.begin(controller=controller)
        assert groups.top == top
        assert group_of(os.getpid()).endswith(f"/{top.name}/gwctl-master")
        assert controller in (top / "cgroup.subtree_control").read_text()
        with subprocess.Popen(["sleep", "60"]) as worker:
            groups.take_in(7, worker.pid, 0)
            own = top / f"gwctl-{os.getpid()}-7"
            assert own.is_dir()
            assert group_of(worker.pid).endswith(own.name)
            again = WorkerGroups.resume()
            again.resumed(7)
            assert again.top == top
            groups.let_go(7)
            assert own.is_dir(), "it lives"
            worker.kill()
            worker.wait()
            groups.sweep()
            assert not own.exists()
            again.let_go(7)
        groups.end()
        assert [each.name for each in top.glob("*/")] == ["gwctl-master"]

    in_group(top / "gwctl-master", act)


def test_what_a_dead_master_has_left_is_removed(place: tuple[Path, str]) -> None:
    """When nobody lives in it any more: its workers finish what they have."""
    top, controller = place
    dead = top / "gwctl-1-3"
    dead.mkdir()
    (top / "gwctl-1-4").mkdir()
    (top / "others").mkdir()
    with subprocess.Popen(["sleep", "60"]) as orphan:
        (dead / "cgroup.procs").write_text(str(orphan.pid))

        def act() -> None:
            groups = WorkerGroups.begin(controller=controller)
            assert sorted(each.name for each in top.glob("*/")) == ["gwctl-1-3", "gwctl-master", "others"]
            os.kill(orphan.pid, signal.SIGKILL)
            until(lambda: not (dead / "cgroup.procs").read_text(), "it to be gone")
            groups.sweep()
            assert sorted(each.name for each in top.glob("*/")) == ["gwctl-master", "others"]

        in_group(top / "gwctl-master", act)


def refused(top: Path, controller: str, group: Path) -> str:
    """Why, and that nothing has changed."""
    said = Path(tempfile.gettempdir()) / top.name

    def act() -> None:
        before = group_of(os.getpid())
        try:
            WorkerGroups.begin(controller=controller)
        except NoGroupsError as error:
            said.write_text(str(error))
        assert group_of(os.getpid()) == before
        assert [each.name for each in top.glob("*/")] in ([], ["gwctl-master"])

    in_group(group, act)
    text = said.read_text()
    said.unlink()
    return text


def test_what_was_not_given_is_left_alone(place: tuple[Path, str]) -> None:
    """Root may write anywhere: that says nothing."""
    top, controller = place
    os.removexattr(top, "user.delegate")
    assert refused(top, controller, top / "gwctl-master") == f"{top} was not delegated to gwctl"


def test_nor_where_the_master_is_not_in_a_group_of_its_own(place: tuple[Path, str]) -> None:
    """Nobody could be started there any more, while workers of a dead master live on."""
    top, controller = place
    assert refused(top, controller, top) == (
        f"the master is not in {top}/gwctl-master: set DelegateSubgroup=gwctl-master"
    )


def test_nor_without_the_controller(place: tuple[Path, str]) -> None:
    top, _ = place
    assert refused(top, "nothing", top / "gwctl-master") == f"{top} has no nothing controller"


def test_where_there_are_none_nothing_is_done(tmp_path: Path) -> None:
    with pytest.raises(NoGroupsError, match="no control groups of version 2"):
        WorkerGroups.begin(Machine(tmp_path).root)
    groups = WorkerGroups()
    groups.take_in(1, os.getpid(), 0)
    groups.resumed(1)
    assert groups.was_killed(1) is None
    assert groups.own_limit(1) == 0
    groups.let_go(1)
    groups.sweep()
    groups.end()


def test_the_topmost_group_of_a_machine_is_nobody_s_to_give(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.v2("/")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    with pytest.raises(NoGroupsError, match="was not delegated"):
        WorkerGroups.begin(machine.root)


def test_that_of_a_container_is(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.v2("/")
    machine.write("sys/fs/cgroup/cgroup.type", "domain\n")
    machine.write("sys/fs/cgroup/cgroup.controllers", "cpu io pids\n")
    machine.write("sys/fs/cgroup/cgroup.procs", "")
    with pytest.raises(NoGroupsError, match="has no memory controller"):
        WorkerGroups.begin(machine.root)


@pytest.mark.parametrize(("set_to", "becomes", "at_oom"), [("1", "0", "taken back"), ("0", "0", "one")])
def test_a_container_is_not_killed_as_a_whole(tmp_path: Path, set_to: str, becomes: str, at_oom: str) -> None:
    """Orchestrators ask for that for all of theirs."""
    machine = Machine(tmp_path)
    machine.v2("/")
    for name, text in (("type", "domain\n"), ("controllers", "memory\n"), ("subtree_control", "")):
        machine.write(f"sys/fs/cgroup/cgroup.{name}", text)
    machine.write("sys/fs/cgroup/cgroup.procs", f"{os.getpid()}\n")
    machine.write("sys/fs/cgroup/gwctl-master/cgroup.procs", "")
    machine.write("sys/fs/cgroup/memory.oom.group", set_to)
    groups = WorkerGroups.begin(machine.root)
    assert groups.at_oom == at_oom
    assert (tmp_path / "sys/fs/cgroup/memory.oom.group").read_text() == becomes


def test_a_service_is_if_its_unit_says_so(place: tuple[Path, str]) -> None:
    """OOMPolicy=kill is somebody's word about this very service."""
    top, controller = place

    def act() -> None:
        wish = top / "memory.oom.group"
        has_memory = wish.exists()
        if has_memory:
            wish.write_text("1")
        groups = WorkerGroups.begin(controller=controller)
        assert groups.at_oom == ("all" if has_memory else "one")
        groups.end()

    in_group(top / "gwctl-master", act)


def test_nor_if_others_are_in_that(tmp_path: Path) -> None:
    """As with an init of the container's own, or a shell."""
    machine = Machine(tmp_path)
    machine.v2("/")
    for name, text in (("type", "domain\n"), ("controllers", "memory\n"), ("procs", "1\n0\n")):
        machine.write(f"sys/fs/cgroup/cgroup.{name}", text)
    with pytest.raises(NoGroupsError, match=r"other processes are in .*: 1, 0"):
        WorkerGroups.begin(machine.root)

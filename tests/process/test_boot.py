"""A worker boots: who it is, where it is, what it sees, and what it says when it cannot."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from gwctl.ipc.channel import PROTOCOL
from tests.support.wait import until
from tests.support.worker import STUB_MASTER, StubWorker

WSGI = """
import json, os, resource, signal, sys
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    umask = os.umask(0)
    os.umask(umask)
    facts = dict(
        uid=os.getresuid() if hasattr(os, "getresuid") else None, gid=os.getresgid(), groups=os.getgroups(),
        cwd=os.getcwd(), path=sys.path[:3], umask=oct(umask), nofile=resource.getrlimit(resource.RLIMIT_NOFILE),
        environ=dict(os.environ), oom=int(open("/proc/self/oom_score_adj").read()),
    )
    return [json.dumps(facts).encode()]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(WSGI)
    return tmp_path


@pytest.fixture
def open_folder(public_folder: Path) -> Path:
    (public_folder / "shop.py").write_text(WSGI)
    return public_folder


PREIMPORT = {
    "preimport": [
        "gwctl.workers.lifecycle.prefork_imports",
        "gwctl.workers.runners.sync",
        "uvloop",
        "resource",
        "encodings.idna",
    ]
}
"""What the worker of another user needs of Python: its home may be one that this user cannot read."""


def facts(worker: StubWorker) -> dict:
    import json

    status, body = worker.get()
    assert status == 200
    return json.loads(body)


def test_the_boot_is_told_stage_by_stage(folder):
    with StubWorker(folder, "shop") as worker:
        ready = worker.ready()
        kinds = [message.get("name", message["t"]) for message in worker.messages]
        assert kinds == ["forked", "hello", "environment", "import", "ready"]
        assert ready["worker_class"] == "sync"
        assert ready["memory_bytes"] > 5_000_000
        assert 0 < ready["import_s"] < ready["boot_s"] < 20
        assert ready["loop"].startswith("uvloop ")


def test_nothing_is_accepted_before_serve(folder):
    with StubWorker(folder, "shop") as worker:
        worker.ready()
        with pytest.raises(TimeoutError):
            worker.get(timeout_s=0.3)
        worker.send(t="serve")
        assert worker.get()[0] == 200


def test_folder_path_and_variables(folder):
    (folder / "lib").mkdir()
    env_file = folder / "shop.env"
    env_file.write_text("# comment\nA=from file\nB=from file\n")
    with StubWorker(
        folder, "shop", pythonpath=["lib"], env={"B": "from env"}, env_file=str(env_file), umask="027"
    ) as worker:
        seen = facts(worker.serving())
        assert seen["cwd"] == str(folder)
        assert seen["path"][:2] == [str(folder), str(folder / "lib")]
        assert seen["umask"] == "0o27"
        assert seen["environ"]["A"] == "from file"
        assert seen["environ"]["B"] == "from env"


def test_a_chdir_link_is_resolved_afresh_and_stays_resolved(folder, tmp_path):
    """The worker imports from the release it started with, also after the link has moved on."""
    for release in ("r1", "r2"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "shop.py").write_text(
            "def application(environ, start_response):\n"
            "    import late\n"
            "    start_response('200 OK', [])\n"
            "    return [late.NAME]\n"
        )
        (tmp_path / release / "late.py").write_text(f"NAME = b'{release}'\n")
    link = tmp_path / "current"
    link.symlink_to("r1")
    with StubWorker(tmp_path, "shop", chdir=str(link)) as worker:
        worker.serving()
        link.unlink()
        link.symlink_to("r2")
        assert worker.get() == (200, "r1")
    with StubWorker(tmp_path, "shop", chdir=str(link)) as worker:
        assert worker.serving().get() == (200, "r2")


def test_a_folder_that_is_not_there(tmp_path):
    with StubWorker(tmp_path, "shop", chdir=str(tmp_path / "gone")) as worker:
        failed = worker.expect("failed")
        assert failed["kind"] == "boot"
        assert (
            failed["message"]
            == f"cannot change to the working directory {tmp_path / 'gone'}: No such file or directory"
        )
        assert worker.exit_status() == 3


def test_open_files_and_oom_score(folder):
    before = int(Path("/proc/self/oom_score_adj").read_text())
    with StubWorker(folder, "shop", nofile=300) as worker:
        seen = facts(worker.serving())
        assert seen["nofile"][0] == 300
        assert seen["oom"] == min(1000, before + 100)


def test_too_few_open_files_to_boot(folder):
    """The limit is named, and no frames of ours are shown: they say nothing to whoever set it."""
    with StubWorker(folder, "shop", nofile=10) as worker:
        failed = worker.expect("failed")
        assert failed["message"] == (
            "it may have 10 open files, and needs at least 32 and one for each connection: "
            "raise `nofile` (or LimitNOFILE= of the service, ulimit -n)"
        )
        assert not failed["traceback"]
        assert worker.exit_status() == 3
        assert "Traceback" not in worker.stderr


def test_more_open_files_than_allowed_is_a_warning(folder):
    wanted = 1_000_000_000
    with StubWorker(folder, "shop", nofile=wanted) as worker:
        soft, hard = facts(worker.serving())["nofile"]
        assert soft == hard
        # Root in a machine of its own may really have that many.
        assert soft == wanted or f"nofile = {wanted} is over the hard limit {hard}" in worker.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("user", ["nobody", "65534"])
def test_root_is_left_for_good(open_folder, user):
    with StubWorker(open_folder, "shop", user=user, options=PREIMPORT) as worker:
        seen = facts(worker.serving())
        assert seen["uid"] == [65534] * 3
        assert len(set(seen["gid"])) == 1
        assert seen["gid"][0] != 0
        assert 0 not in seen["groups"]
        assert seen["environ"]["USER"] == seen["environ"]["LOGNAME"] == "nobody"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_user_by_number_without_an_entry(open_folder):
    with StubWorker(open_folder, "shop", user="12345", group="12346", options=PREIMPORT) as worker:
        seen = facts(worker.serving())
        assert (seen["uid"], seen["gid"], seen["groups"]) == ([12345] * 3, [12346] * 3, [12346])
    with StubWorker(open_folder, "shop", user="12345") as worker:
        assert worker.expect("failed")["message"] == (
            "user 12345 has no entry in the password database: set `group` too"
        )


def test_an_unknown_user(folder):
    with StubWorker(folder, "shop", user="nobody-of-that-name") as worker:
        assert worker.expect("failed")["message"] == "there is no user 'nobody-of-that-name'"
        assert worker.exit_status() == 3


def test_an_import_that_fails_shows_the_application_s_frames_only(tmp_path):
    (tmp_path / "shop.py").write_text("import prices\n")
    (tmp_path / "prices.py").write_text("def load():\n    raise ValueError('no prices')\nload()\n")
    with StubWorker(tmp_path, "shop:application") as worker:
        failed = worker.expect("failed")
        assert failed["kind"] == "import"
        assert failed["message"] == "cannot import shop: ValueError: no prices"
        frames = [line for line in failed["traceback"].splitlines() if line.startswith("  File")]
        assert frames == [
            f'  File "{tmp_path}/shop.py", line 1, in <module>',
            f'  File "{tmp_path}/prices.py", line 3, in <module>',
            f'  File "{tmp_path}/prices.py", line 2, in load',
        ]
        assert worker.exit_status() == 4


def test_the_title_says_who_it_is(folder):
    with StubWorker(folder, "shop") as worker:
        worker.ready()
        assert worker.title == "gwctl: worker web.2 g3 [shop]"
        worker.send(t="park")
        until(lambda: worker.title == "gwctl: worker web.2 g3 [shop] parked", lambda: worker.title)


def test_the_title_while_booting(tmp_path):
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "shop.py").write_text(
        "open('gate').read()\napplication = lambda environ, start_response: []\n"
    )
    with StubWorker(tmp_path, "shop") as worker:
        worker.expect("stage")
        until(lambda: worker.title == "gwctl: worker web.2 g3 [shop] booting", lambda: worker.title)
        (tmp_path / "gate").write_text("")
        worker.ready()


def test_a_trial_imports_and_ends(folder):
    with StubWorker(folder, "shop", options={"trial": True}) as worker:
        assert worker.ready()["worker_class"] == "sync"
        assert worker.exit_status() == 0


def test_a_master_of_another_time_is_refused(folder):
    with StubWorker(folder, "shop", greet=False) as worker:
        worker.send(t="hello", protocol=PROTOCOL + 2, scoreboard_layout=1, version="9.0")
        failed = worker.expect("failed")
        assert failed["message"] == (
            f"channel protocol {PROTOCOL + 2} (gwctl 9.0) does not go with {PROTOCOL}: run `gwctl upgrade`"
        )
        assert worker.exit_status() == 3


def test_term_during_the_import_ends_the_boot(tmp_path):
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "shop.py").write_text("open('gate').read()\n")
    with StubWorker(tmp_path, "shop") as worker:
        worker.expect("stage")
        until(lambda: worker.title.endswith("booting"), lambda: worker.title)
        worker.signal(signal.SIGTERM)
        assert worker.exit_status() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_that_python_makes_another_error_of_ends_the_boot_as_well(tmp_path, number):
    """CPython up to 3.11 tells what __set_name__ raises by a RuntimeError."""
    (tmp_path / "shop.py").write_text(
        "import os\n"
        "class Named:\n"
        "    def __set_name__(self, owner, name):\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "        for _ in range(10_000):\n"
        "            pass\n"
        "class Owner:\n"
        "    named = Named()\n"
    )
    with StubWorker(tmp_path, "shop") as worker:
        worker.expect("stage")
        assert worker.exit_status() == 0
        assert [each for each in worker.messages if each["t"] == "failed"] == []


def test_a_wsgi_worker_loads_none_of_the_asgi_libraries(tmp_path):
    (tmp_path / "shop.py").write_text(
        "import sys\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [' '.join({'uvicorn', 'websockets', 'gwctl.workers.asgi.request', 'gwctl.workers.bridge.event_loop'} & set(sys.modules)).encode()]\n"
    )
    with StubWorker(tmp_path, "shop", command=STUB_MASTER) as worker:
        assert worker.serving().get() == (200, "")

"""status, reload, stop and scale against scripted masters in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from gwctl.cli import control_commands
from tests.support import scripted_master
from tests.support.command import runner
from tests.support.started import Started
from tests.support.wait import DEADLINE_S

STATUS = {"name": "shop", "pid": 4120, "version": "0.1.0", "up_s": 61.0, "generation": 2, "phase": "serving"}
TRACE = """generation 3 was not adopted: web: could not import shop.wsgi:application

  File "/srv/shop/views.py", line 12, in <module>
    from shop.prices import tax_rate
ImportError: cannot import name 'tax_rate'

generation 2 serves as before (web 4/4 ready)."""
GOOD_RELOAD = [
    ["", "validate", "", "g1 -> g2"],
    ["web", "validate", "ok"],
    ["web", "boot", ""],
    ["web", "boot", "ok", "0.44 s"],
    ["web", "settle", ""],
    ["web", "settle", "ok", "2 s"],
    ["web", "roll", "", "1/2"],
    ["web", "roll", "ok", "2/2"],
    ["web", "commit", ""],
    ["web", "commit", "ok"],
    {"ok": True, "text": "adopted generation 2 in 3.9 s", "result": {"generation": 2}},
]
BAD_RELOAD = [
    ["", "validate", "", "g2 -> g3"],
    ["web", "validate", "ok"],
    ["web", "boot", ""],
    ["web", "boot", "FAILED", "could not import"],
    {"ok": False, "text": TRACE, "result": {"generation": 2, "kind": "import"}},
]
SCRIPT = {
    "status": STATUS,
    "reload": GOOD_RELOAD,
    "upgrade": [
        ["", "check", ""],
        ["", "check", "ok", "gwctl 0.2.0, Python 3.13.1"],
        ["", "execute", ""],
        ["", "execute", "ok", "0.40 s, 4 workers kept"],
        *GOOD_RELOAD[:-1],
        {"ok": True, "text": "upgraded\nadopted generation 2 in 3.9 s", "result": {"generation": 2}},
    ],
    "stop": [{"ok": True, "text": "stopped in 2.9 s; 0 requests cut"}],
    "scale": [{"ok": True, "text": "web: 5 workers (was 4)", "result": {"pool": "web", "size": 5}}],
}

Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts scripted masters in a runtime directory of the test's own."""
    processes: list[Started] = []
    (tmp_path / "run").mkdir()

    def start(name: str = "shop", path: Path | None = None, **script: Any) -> Started:
        path = path or tmp_path / "run" / "gwctl" / f"{name}.sock"
        processes.append(scripted_master.start(path, SCRIPT | script))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate(DEADLINE_S)


@pytest.fixture
def gwctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    group = click.Group(commands=control_commands.COMMANDS)

    def run(*arguments: str) -> Result:
        return runner().invoke(group, arguments, catch_exceptions=False)

    return run


Run = Callable[..., Result]


def test_status(start: Start, gwctl: Run) -> None:
    start()
    assert gwctl("status").stdout == "shop  pid 4120  up 1 m  generation 2\n"
    assert json.loads(gwctl("status", "--json").stdout) == STATUS


def test_reload_adopted(start: Start, gwctl: Run) -> None:
    start()
    outcome = gwctl("reload")
    assert outcome.exit_code == 0
    assert outcome.stdout == (
        "web  g1 -> g2  validate ok  boot ok (0.44 s)  settle ok (2 s)  roll 2/2  commit\nadopted generation 2 in 3.9 s\n"
    )


def test_reload_refused(start: Start, gwctl: Run) -> None:
    """The traceback is shown and the exit status is 1."""
    start(reload=BAD_RELOAD)
    outcome = gwctl("reload")
    assert outcome.exit_code == 1
    assert outcome.stdout == "web  g2 -> g3  validate ok  boot FAILED\n"
    assert outcome.stderr == TRACE + "\n"


def test_reload_refused_as_json(start: Start, gwctl: Run) -> None:
    start(reload=BAD_RELOAD)
    outcome = gwctl("reload", "--json")
    assert outcome.exit_code == 1
    answer = json.loads(outcome.stdout)
    assert (answer["ok"], answer["kind"], answer["text"]) == (False, "import", TRACE)


def test_reload_with_wrong_settings(start: Start, gwctl: Run) -> None:
    """Nothing is known of pools yet: one line for all."""
    script = [
        ["", "validate", "", "g1 -> g2"],
        ["", "validate", "FAILED", "gw.toml:7: no such setting"],
        {"ok": False, "text": "generation 2 was not adopted: gw.toml:7: no such setting"},
    ]
    start(reload=script)
    outcome = gwctl("reload")
    assert (outcome.exit_code, outcome.stdout) == (1, "g1 -> g2  validate FAILED\n")


def test_upgrade(start: Start, gwctl: Run) -> None:
    start()
    outcome = gwctl("upgrade")
    assert outcome.exit_code == 0
    assert outcome.stdout == (
        "master  check ok (gwctl 0.2.0, Python 3.13.1)  execute ok (0.40 s, 4 workers kept)\n"
        "web  g1 -> g2  validate ok  boot ok (0.44 s)  settle ok (2 s)  roll 2/2  commit\n"
        "upgraded\nadopted generation 2 in 3.9 s\n"
    )
    assert json.loads(gwctl("upgrade", "--json").stdout)["generation"] == 2


def test_upgrade_refused(start: Start, gwctl: Run) -> None:
    script = [
        ["", "check", ""],
        ["", "check", "FAILED"],
        {"ok": False, "text": "not upgraded: SyntaxError", "result": {"reason": "SyntaxError"}},
    ]
    start(upgrade=script)
    outcome = gwctl("upgrade")
    assert (outcome.exit_code, outcome.stdout) == (1, "master  check FAILED\n")
    assert outcome.stderr == "not upgraded: SyntaxError\n"


@pytest.mark.parametrize(("flags", "asked"), [([], "Stop(quick=False)"), (["--quick"], "Stop(quick=True)")])
def test_stop_waits_until_the_process_is_gone(start: Start, gwctl: Run, flags: list[str], asked: str) -> None:
    process = start()
    outcome = gwctl("stop", "--json", *flags)
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout)["asked"] == asked
    assert process.poll() is not None or process.wait(1) == 0
    assert gwctl("stop").exit_code == 1


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ("5", "size=5, delta=None, auto=False"),
        ("+2", "size=None, delta=2, auto=False"),
        ("-1", "size=None, delta=-1, auto=False"),
        ("auto", "size=None, delta=None, auto=True"),
    ],
)
def test_scale(start: Start, gwctl: Run, change: str, asked: str) -> None:
    start()
    outcome = gwctl("scale", "web", change, "--json")
    assert json.loads(outcome.stdout)["asked"] == f"Scale(pool='web', {asked})"
    assert gwctl("scale", "web", change).stdout == "web: 5 workers (was 4)\n"


def test_scale_by_nonsense(gwctl: Run) -> None:
    outcome = gwctl("scale", "web", "many")
    assert outcome.exit_code == 2
    assert "'many' is not a number of workers: write 4, +1, -1 or auto" in outcome.stderr
    outcome = gwctl("scale", "web", "99999")
    assert outcome.exit_code == 2
    assert "a pool has 1 to 1024 workers" in outcome.stderr
    for size in ("0", "1025", "+1025"):
        assert "a pool has 1 to 1024 workers" in gwctl("scale", "web", size).stderr


def test_a_master_that_goes_away(start: Start, gwctl: Run) -> None:
    """A reload that a stop interrupts ends in an error, not in a wait."""
    script = [["web", "boot", ""], {"ok": False, "text": "not adopted: the fleet stops"}]
    start(reload=script)
    assert gwctl("reload").stderr == "not adopted: the fleet stops\n"


# ---- which master


def test_none_runs(gwctl: Run) -> None:
    outcome = gwctl("status")
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("found no master that runs. Start one with gwctl start")
    assert json.loads(gwctl("status", "--json").stdout)["ok"] is False


def test_names_with_blanks_are_quoted(gwctl: Run, tmp_path: Path) -> None:
    folder = tmp_path / "my shop"
    assert gwctl("status", "--name", "my shop").stderr.startswith(
        "found no master that runs named 'my shop'. Start one with gwctl start"
    )
    outcome = gwctl("status", "-c", str(folder / "gw.toml")).stderr
    assert outcome.startswith(f"found no master that runs with '{folder}/gw.toml'. Start one")
    assert "If it named a control socket, give that: --control PATH" in outcome
    folder.mkdir()
    (folder / "gw.toml").touch()
    outcome = gwctl("status", "-c", str(folder)).stderr
    assert f"'{folder}' cannot be read (it is not a file). Did you mean '{folder}/gw.toml'?" in outcome


def test_several_run(start: Start, gwctl: Run, tmp_path: Path) -> None:
    start("shop")
    start("blog", status=STATUS | {"name": "blog"})
    outcome = gwctl("stop")
    assert outcome.exit_code == 1
    assert outcome.stderr == (
        "2 masters run; say which, by --name:\n"
        f"  blog  --control {tmp_path}/run/gwctl/blog.sock\n"
        f"  shop  --control {tmp_path}/run/gwctl/shop.sock\n"
    )
    assert gwctl("status", "--name", "blog").stdout.startswith("blog  pid")
    assert gwctl("status", "--name", "cart").stderr == "no master runs named cart; running: blog, shop\n"


def test_by_socket(start: Start, gwctl: Run, tmp_path: Path) -> None:
    path = tmp_path / "else" / "x.sock"
    start(path=path)
    assert gwctl("status", "--control", str(path)).exit_code == 0
    assert (
        gwctl("status", "--control", str(tmp_path / "y.sock")).stderr
        == f"no master runs at {tmp_path}/y.sock\n"
    )


def test_by_settings_file_even_a_wrong_one(start: Start, gwctl: Run, tmp_path: Path) -> None:
    """The running master knows its file; what stands in it by now does not matter."""
    config = tmp_path / "gw.toml"
    config.write_text("[[[ nonsense")
    start("shop", status=STATUS | {"config": str(config)})
    start("blog")
    assert gwctl("status", "-c", str(config)).stdout.startswith("shop  pid")
    assert "no master runs with" in gwctl("status", "-c", str(tmp_path / "other.toml")).stderr


def test_by_the_settings_file_of_this_folder(start: Start, gwctl: Run, tmp_path: Path) -> None:
    config = tmp_path / "cwd" / "gw.toml"
    config.write_text("")
    start("shop", status=STATUS | {"config": str(config)})
    start("blog")
    assert gwctl("status").stdout.startswith("shop  pid")


def test_by_a_settings_file_that_names_the_socket(start: Start, gwctl: Run, tmp_path: Path) -> None:
    config = tmp_path / "gw.toml"
    config.write_text('[master]\ncontrol = "ctl/x.sock"\n')
    start(path=tmp_path / "ctl" / "x.sock")
    assert gwctl("status", "-c", str(config)).exit_code == 0

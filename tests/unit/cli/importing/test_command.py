"""`gwctl import` as it is called: what is written where, and what is refused."""

from __future__ import annotations

import os
import stat
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from gwctl.cli import cli
from gwctl.cli.importing import sources
from gwctl.errors import ExitStatus
from tests.support.command import runner
from tests.unit.cli.importing.cases import CASES

CONF = "bind = '127.0.0.1:8001'\nworkers = 2\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gwctl(*arguments: str) -> Result:
    return runner().invoke(cli, arguments, prog_name="gwctl")


def test_it_writes_and_says_what_is_next(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text(f"{CONF}reload = True\ndef on_exit(server): pass\n")
    result = gwctl("import", "gunicorn.conf.py", "--app", "shop.wsgi", "-o", "gw.toml")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "gunicorn.conf.py: 3 settings, 1 without a counterpart, 1 hook -> gw.toml",
        "  gunicorn.conf.py:3 reload = True: Files are not watched: run gwctl reload after a change",
        "  gunicorn.conf.py:4 def on_exit: The master runs no code of the application: do it after gwctl has ended (ExecStopPost=)",
        "check: no problems. Try it:  gwctl start",
    ]
    assert gwctl("check").exit_code == 0


def test_a_file_that_is_there_stays(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text(CONF)
    (folder / "gw.toml").write_text("# mine\n")
    arguments = ("import", "gunicorn.conf.py", "--app", "shop.wsgi", "-o", "gw.toml")
    result = gwctl(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "gw.toml is there already; --force replaces it\n"
    assert (folder / "gw.toml").read_text() == "# mine\n"
    assert gwctl(*arguments, "--force").exit_code == 0
    assert tomllib.loads((folder / "gw.toml").read_text())["pool"]["web"]["processes"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Dockerfile",), "Dockerfile:2: No closing quotation"),
        (("run.sh",), "run.sh: No closing quotation"),
        (("Procfile",), "Procfile:1: No closing quotation"),
        (("--", "sh", "-c", "gunicorn 'shop"), "sh -c: No closing quotation"),
        (("variables.env", "--app", "shop"), "GUNICORN_CMD_ARGS: No closing quotation"),
    ],
)
def test_a_quotation_that_does_not_end_is_told(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    (folder / "Dockerfile").write_text("FROM python\nCMD gunicorn --name 'shop shop:app\n")
    (folder / "run.sh").write_text("#!/bin/sh\nexec gunicorn --name 'shop shop:app\n")
    (folder / "Procfile").write_text("web: gunicorn --name 'shop shop:app\n")
    (folder / "variables.env").write_text("GUNICORN_CMD_ARGS=--name 'shop shop:app\n")
    result = gwctl("import", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (ExitStatus.SETTINGS, "", f"{said}\n")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("compose.yaml", f"services:\n  web:\n    command: {'&a ' * 2500}x\n"),
        ("uwsgi.json", '{"uwsgi":' + "[" * 100_000),
        ("hypercorn.toml", "a = " + "[" * 10_000),
        ("Dockerfile", "FROM python\nCMD " + "[" * 100_000),
    ],
)
def test_what_is_nested_without_end_is_told(folder: Path, name: str, text: str) -> None:
    """How deep is too deep differs from one Python to the next."""
    (folder / name).write_text(text)
    result = gwctl("import", name)
    assert (result.exit_code, result.stdout) == (ExitStatus.SETTINGS, "")
    assert result.stderr.startswith(name)


def test_no_room_for_what_is_checked_is_told(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "gone"))
    result = gwctl("import", "--", "gunicorn", "shop.wsgi")
    assert (result.exit_code, result.stderr) == (
        1,
        "cannot check it in a temporary folder: No such file or directory\n",
    )


def test_a_file_is_kept_when_its_replacement_cannot_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = folder / "gw.toml"
    settings.write_text("mine")
    settings.chmod(0o640)
    arguments = ("import", "-o", "gw.toml", "--force", "--", "gunicorn", "-w", "2", "shop.wsgi")
    fdopen = os.fdopen

    def full(fd: int, *_: Any, **__: Any) -> Any:
        os.close(fd)
        return fdopen(os.open("/dev/full", os.O_WRONLY), "w", encoding="utf-8")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", full)
        result = gwctl(*arguments)
    assert (result.exit_code, result.stderr) == (1, "cannot write gw.toml: No space left on device\n")
    assert settings.read_text() == "mine"
    assert list(folder.iterdir()) == [settings]
    assert gwctl(*arguments).exit_code == 0
    assert settings.read_text() != "mine"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o640


def test_what_is_not_on_this_machine_is_told(folder: Path) -> None:
    result = gwctl("import", "-o", "gw.toml", "--", "gunicorn", "-u", "no-such-user", "shop.wsgi")
    assert result.exit_code == 0
    assert 'pool.web.user = "no-such-user": there is no such user' in result.stderr
    assert "check: 1 problem to see to before it can be started" in result.stderr


def test_an_application_is_looked_for(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text(CONF)
    assert (
        "no application is named: write its name here, or --app" in gwctl("import", "gunicorn.conf.py").stdout
    )
    written = gwctl("import", "gunicorn.conf.py", "-o", "gw.toml").stdout
    assert written.endswith(
        "no application is named: write its name into gw.toml, or give --app; then gwctl start\n"
    )
    (folder / "app.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    assert 'app = "app:app"' in gwctl("import", "gunicorn.conf.py").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("import",), 2, "nothing is named to import from. Write\n  gwctl import FILE\n"),
        (("import", "none.py"), 2, "cannot read none.py: No such file or directory"),
        (("import", "text"), 2, "text is nothing that is known here. --from says what it is: gunicorn, hypercorn"),
        (("import", "--", "npm", "start"), 2, "npm start starts none of the servers that are known here: gunicorn, uvicorn"),
        (("import", "text", "--", "gunicorn"), 2, "name a file, or a command behind --: not both"),
        (("import", "text", "--from", "compose"), 2, "text has no services: it is no compose file"),
        (("import", "text", "--from", "uwsgi"), 2, "text has no section uwsgi: it says nothing to uWSGI"),
        (("import", "text", "--from", "nginx-unit"), 2, "text is not JSON"),
        (("import", "text", "--from", "systemd"), 2, "text starts nothing: none of the servers that are known here"),
        (("import", "text", "--from", "procfile"), 2, "text: no process runs a server that is known here"),
        (("import", "text", "--from", "dockerfile"), 2, "text: the container runs nothing: none of the servers"),
        (("import", "text", "--from", "hypercorn"), 2, "text is not TOML"),
        (("import", "text", "--from", "env"), 2, "text has no variable of a server"),
        (("import", "--", "gunicorn", "-c", "none.py", "shop"), 2, "there is no file none.py"),
        (("import", "--", "uwsgi", "none.ini"), 2, "cannot read none.ini"),
        (("import", "text", "-o", "none/gw.toml", "--from", "gunicorn"), 1, "cannot write none/gw.toml"),
    ],
)  # fmt: skip
def test_what_is_refused(folder: Path, arguments: tuple[str, ...], status: int, told: str) -> None:
    (folder / "text").write_text(
        "nothing\n" if arguments[-1] != "gunicorn" or "--from" not in arguments else "workers = 1\n"
    )
    result = gwctl(*arguments)
    assert result.exit_code == status
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_an_application_is_not_run(folder: Path) -> None:
    """What says nothing to gunicorn is no gunicorn.conf.py, unless the person says so."""
    (folder / "app.py").write_text("import pathlib\npathlib.Path('ran').touch()\napp = print\n")
    assert "app.py is nothing that is known here" in gwctl("import", "app.py").stderr
    assert not (folder / "ran").exists()
    assert gwctl("import", "app.py", "--from", "gunicorn").exit_code == 0
    assert (folder / "ran").exists()


def test_a_file_in_another_folder(folder: Path) -> None:
    """It runs where gunicorn would be started: here, if it is below; with its module's name it is found as well."""
    (folder / "deploy").mkdir()
    (folder / "deploy" / "conf.py").write_text(
        "import os\nimport beside\nworkers = beside.N\npidfile = os.getcwd()\n"
    )
    (folder / "beside.py").write_text("N = 3\n")
    for arguments in (
        ("deploy/conf.py",),
        ("--", "gunicorn", "-c", "deploy/conf.py"),
        ("--", "gunicorn", "-c", "python:deploy.conf"),
    ):
        printed = tomllib.loads(gwctl("import", *arguments).stdout)
        assert (printed["master"]["pidfile"], printed["pool"]["web"]["processes"]) == (str(folder), 3), (
            arguments
        )
    (folder / "deploy" / "beside.py").write_text("N = 4\n")
    printed = tomllib.loads(gwctl("import", str(folder / "deploy" / "conf.py")).stdout)
    assert (printed["master"]["pidfile"], printed["pool"]["web"]["processes"]) == (str(folder / "deploy"), 4)


def test_files_that_are_here_are_named(folder: Path) -> None:
    (folder / "Procfile").write_text("web: gunicorn shop\n")
    assert gwctl("import").stderr == "nothing is named to import from. There is\n  gwctl import Procfile\n"


def test_a_line_that_says_both(folder: Path) -> None:
    """Our options may stand behind the file, too; theirs behind -- are left alone."""
    result = gwctl("import", "-o", "x.toml", "--", "uvicorn", "main:app", "--help", "-o", "y")
    assert result.exit_code == 0
    assert (folder / "x.toml").exists()


@pytest.mark.parametrize("name", CASES)
def test_its_kind_is_found(name: str) -> None:
    """By name and content: no case says it."""
    case = CASES[name]
    if case.arguments[0] == "--":
        return
    file = case.arguments[0]
    assert sources.kind_of(file, case.files[file]) in sources.KINDS


@pytest.mark.parametrize("kind", sources.KINDS)
@pytest.mark.parametrize(
    "text",
    ["\0\1\2", "{}", "[]", "a: [", "[uwsgi", "=", "web: '", "CMD [", "ExecStart='", '{"a": NaN}', "%(" * 50],
)
def test_anything_is_read_or_refused(folder: Path, kind: str, text: str) -> None:
    if kind == "gunicorn":
        return  # that is Python, see test_evaluation
    (folder / "text").write_text(text)
    result = gwctl("import", "text", "--from", kind)
    assert result.exit_code in {0, 2}
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_another_servers_file_is_no_gw_toml(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text("import os\n")
    hint = "Settings of another server? `gwctl import gunicorn.conf.py` makes a gw.toml of them"
    assert hint in gwctl("check", "-c", "gunicorn.conf.py").stderr


HOSTILE = {
    "a name that grows": ("uwsgi.ini", "[uwsgi]\na0 = xxxxxxxx\n" + "".join(f"a{n + 1} = %(a{n})%(a{n})\n" for n in range(60))),
    "anchors in anchors": (
        "compose.yaml",
        "x: &a0 [x]\n" + "".join(f"x{n}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(20)) + "services:\n  web:\n    command: *a20\n",
    ),
    "a variable that grows": (
        "Dockerfile",
        "FROM x\nENV A=xxxxxxxx\n" + "ENV A=$A$A\n" * 60 + "CMD gunicorn $A\n",
    ),
    "a line of blanks": ("compose.yaml", "services:" + " " * 500_000 + "x\n"),
    "controls": ("compose.yaml", 'services:\n  web:\n    command: ["gunicorn", "-b", "$X\\n[pool.x]", "-w", "x\\ny", "-R", "shop"]\n'),
    "a pool of the master's name": ("u.json", '{"applications": {"master": {"type": "python", "module": "x"}}}'),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_others_wrote_harms_nobody(folder: Path, name: str) -> None:
    """It ends at once, and what is printed is text and TOML."""
    file, text = HOSTILE[name]
    (folder / file).write_text(text)
    result = gwctl("import", file)
    assert result.exit_code in {0, 2}
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert len(result.stdout) < 200_000
    assert all(line.isprintable() for line in result.stdout.splitlines())
    tomllib.loads(result.stdout)

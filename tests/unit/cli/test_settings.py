"""Commands about settings, called as a person calls them but within this process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from gwctl import build
from gwctl.cli import COMMANDS, cli
from gwctl.cli.options import logical_cwd
from tests.support.command import runner

WEB = '[pool.web]\napp = "shop:app"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GWCTL_")]:
        monkeypatch.delenv(name)
    return tmp_path


def gwctl(*arguments: str, **environ: str) -> Result:
    return runner().invoke(cli, arguments, env=environ, prog_name="gwctl")


def test_version() -> None:
    assert gwctl("--version").output == f"{build.description()}\n"


def test_help_names_every_command() -> None:
    """All of them can be imported, and each says what it does."""
    result = gwctl("--help")
    assert result.exit_code == 0
    listed = [line.split() for line in result.output.partition("Commands:\n")[2].splitlines()]
    assert [words[0] for words in listed] == list(COMMANDS)
    assert all(len(words) > 2 for words in listed)
    assert not any(words[-1].endswith("...") for words in listed), "a summary does not fit its line"
    assert "\n  gwctl start shop.wsgi     serves an application without a file\n" in result.output


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("strat", "there is no command 'strat'. Did you mean gwctl start?"),
        ("shop.wsgi", "there is no command 'shop.wsgi'. Did you mean gwctl start shop.wsgi?"),
        ("run", "there is no command 'run'. Did you mean gwctl start?"),
        ("zzz", "there is no command 'zzz'."),
    ],
)
def test_a_command_that_is_none(name: str, told: str) -> None:
    result = gwctl(name)
    assert result.exit_code == 2
    assert result.stderr.endswith(f"Error: {told}\n")


def test_check(folder: Path) -> None:
    (folder / "gw.toml").write_text(WEB)
    result = gwctl("check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{folder}/gw.toml: no problems. web serves shop:app on 127.0.0.1:8000\n"


def test_check_tells_all_problems(folder: Path) -> None:
    (folder / "prod.toml").write_text(f"{WEB}workers = 4\nthreads = 0\n")
    result = gwctl("check", "-c", "prod.toml", "--set", "backlog=x", GWCTL_NOFILE="-1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "prod.toml:3: pool.web.workers = 4: no such setting. Did you mean `processes`?",
        "prod.toml:4: pool.web.threads = 0: not in 1..1024",
        "environment: GWCTL_NOFILE = -1: not in 0..1073741816",
        'command line: --set backlog = "x": expected a whole number, found text',
        "4 problems",
    ]


def test_start_with_a_mistake_starts_nothing(folder: Path) -> None:
    (folder / "gw.toml").write_text(f"{WEB}workers = 4\n")
    result = gwctl("start")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[1:] == ["1 problem; nothing was started."]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--processes", "0"), "command line: --processes = 0: not in 1..1024"),
        (
            ("-w", "x"),
            'command line: --processes = "x": expected a whole number, "auto" or a table, found text',
        ),
        (("-b", ":1", "--bind", ":1"), 'command line: --bind = ":1": is bound already'),
        (
            ("-k", "gthread"),
            'command line: --worker = "gthread": expected "auto", "sync", "threads" or "asgi". Did you mean "threads"?',
        ),
        (
            ("-k", "sync", "--threads", "2"),
            'command line: --threads = 2: a sync worker has no threads. Leave it out, or set worker = "threads"',
        ),
        (
            ("--name", "a b"),
            'command line: --name = "a b": expected at most 64 letters, digits, and _ . - inside',
        ),
        (("--set", "threads"), 'command line: --set = "threads": expected KEY=VALUE'),
    ],
)
def test_flags_of_start(arguments: tuple[str, ...], told: str) -> None:
    result = gwctl("start", "shop:app", *arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("start", "shop", "--workers", "4", "--reload", "--host", "::", "--port", "80"),
            (
                "there are no --workers, --reload, --host, --port here:\n\n"
                "  --workers 4          --processes 4\n"
                "  --reload             Files are not watched: run gwctl reload after a change\n"
                "  --host :: --port 80  --bind '[::]:80'\n\n"
                "  gwctl start shop --processes 4 --bind '[::]:80'\n"
            ),
        ),
        (
            ("check", "--bind", ":1"),
            "there is no --bind here:\n\n  --bind :1  --set bind=:1\n\n  gwctl check --set bind=:1\n",
        ),
        (
            ("config", "show", "--log-level=critical"),
            (
                "there is no --log-level here:\n\n  --log-level=critical  --set master.log_level=error\n\n"
                "  gwctl config show --set master.log_level=error\n"
            ),
        ),
        (
            ("start", "--factory", "shop:make"),
            "there is no --factory here:\n\n  --factory  module:factory()\n\n  gwctl start 'shop:make()'\n",
        ),
        (
            ("start", "shop", "--worker-class=tornado"),
            (
                "there is no --worker-class here:\n\n  --worker-class=tornado  An application of Tornado is neither WSGI nor ASGI: "
                "it stays under gunicorn\n\n  gwctl start shop\n"
            ),
        ),
        (("start", "--timeouts", "1"), "No such option '--timeouts'."),
    ],
)
def test_options_of_other_servers(arguments: tuple[str, ...], told: str) -> None:
    """All of them at once, with the whole line corrected; the message ends with that."""
    result = gwctl(*arguments)
    assert result.exit_code == 2
    assert f"Error: {told}" in result.stderr
    assert result.stdout == ""


def test_an_option_that_nobody_has() -> None:
    result = gwctl("start", "--zzz")
    assert result.exit_code == 2
    assert "--zzz" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["start", "check"])
def test_nothing_to_serve(command: str) -> None:
    """Without a file and an application, what to do is said; the status is that of wrong settings."""
    result = gwctl(command)
    assert result.exit_code == 2
    assert result.stderr.startswith("there is no gw.toml here and no application was named.\n")
    assert "gwctl init" in result.stderr


def test_an_application_alone_reads_no_file(folder: Path) -> None:
    (folder / "gw.toml").write_text("nonsense")
    result = gwctl("check", "shop:app")
    assert (result.exit_code, result.stdout) == (
        0,
        "settings: no problems. web serves shop:app on 127.0.0.1:8000\n",
    )


def test_an_application_in_the_environment_needs_no_file() -> None:
    assert gwctl("check", GWCTL_APP="shop:app").exit_code == 0
    assert gwctl("check", "--set", "app=shop:app").exit_code == 0


def test_config_show(folder: Path) -> None:
    (folder / "gw.toml").write_text(WEB)
    result = gwctl("config", "show", "--set", "threads=2")
    assert result.exit_code == 0
    assert 'app = "shop:app"' in result.stdout
    data = json.loads(gwctl("config", "show", "--json", GWCTL_THREADS="3").stdout)
    assert data["settings"]["pool.web.threads"] == {"value": 3, "source": "GWCTL_THREADS"}


def test_init(folder: Path) -> None:
    (folder / "app.py").write_text("from flask import Flask\napp = Flask('shop')\n")
    result = gwctl("init")
    assert result.stdout == "wrote gw.toml: app:app, a Flask application\nnext: gwctl start\n"
    assert gwctl("check").exit_code == 0
    again = gwctl("init")
    assert (again.exit_code, again.stderr) == (
        1,
        f"{folder}/gw.toml is there already; gwctl init --force replaces it\n",
    )
    assert gwctl("init", "--force").exit_code == 0


def test_the_working_directory_keeps_its_links(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the shell shows it; a PWD that is stale or no path of this folder is not believed."""
    (folder / "release1").mkdir()
    (folder / "current").symlink_to("release1")
    monkeypatch.chdir(folder / "current")
    assert logical_cwd({"PWD": str(folder / "current")}) == folder / "current"
    assert logical_cwd({"PWD": str(folder)}) == folder / "release1"
    assert logical_cwd({"PWD": str(folder / "gone")}) == folder / "release1"
    assert logical_cwd({"PWD": "."}) == folder / "release1"
    assert logical_cwd({}) == folder / "release1"


def test_addresses_with_port_0_are_shown_as_they_were_written(folder: Path) -> None:
    (folder / "gw.toml").write_text(WEB + 'bind = ["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"]\n')
    assert gwctl("check").stdout.endswith(" on 127.0.0.1:0, 127.0.0.1:0, [::1]:0\n")
    assert 'bind = ["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"]' in gwctl("config", "show").stdout


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_init_of_a_folder(folder: Path, force: tuple[str, ...]) -> None:
    result = gwctl("init", "-c", ".", *force)
    assert result.exit_code == 1
    assert result.stderr == f"{folder} is a folder: name the file, as in -c {folder}/gw.toml\n"

"""Mistakes in GWCTL_ variables and on the command line, with exactly what the person is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.config.load import load
from gwctl.config.problems import ConfigError
from gwctl.config.sources import Override
from tests.support.mistakes import WEB, mistakes

TWO_POOLS = f'{WEB}[pool.live]\napp = "live:app"\nbind = ":81"\n'
IN_ENVIRONMENT = {
    "a kind": (
        WEB,
        {"GWCTL_PROCESSES": "many"},
        'environment: GWCTL_PROCESSES = "many": expected a whole number, "auto" or a table, found text',
    ),
    "a range": (
        WEB,
        {"GWCTL_POOL_WEB_THREADS": "0"},
        "environment: GWCTL_POOL_WEB_THREADS = 0: not in 1..1024",
    ),
    "a duration": (
        WEB,
        {"GWCTL_TIMEOUTS_LINGER_S": "2s"},
        'environment: GWCTL_TIMEOUTS_LINGER_S = "2s": expected a number of seconds, found text. Write 2',
    ),
    "an element": (
        WEB,
        {"GWCTL_BIND": ":80, :http"},
        "environment: GWCTL_BIND = \":http\": port 'http' is not a number",
    ),
    "a slip": (
        WEB,
        {"GWCTL_PROCESES": "2"},
        'environment: GWCTL_PROCESES = "2": no such setting. Did you mean GWCTL_PROCESSES?',
    ),
    "a name of gunicorn": (
        TWO_POOLS,
        {"GWCTL_POOL_WEB_WORKERS": "2"},
        'environment: GWCTL_POOL_WEB_WORKERS = "2": no such setting. Did you mean GWCTL_POOL_WEB_PROCESSES?',
    ),
    "no table": (
        WEB,
        {"GWCTL_LOG_LEVEL": "debug"},
        'environment: GWCTL_LOG_LEVEL = "debug": no such setting. Did you mean GWCTL_MASTER_LOG_LEVEL?',
    ),
    "which pool": (
        TWO_POOLS,
        {"GWCTL_PROCESSES": "2"},
        (
            'environment: GWCTL_PROCESSES = "2": there are several pools. '
            "Write GWCTL_POOL_WEB_PROCESSES or GWCTL_POOL_LIVE_PROCESSES"
        ),
    ),
    "which pool's variable": (
        TWO_POOLS,
        {"GWCTL_ENV_debug": "2"},
        (
            "environment: GWCTL_ENV_debug = …: there are several pools. "
            "Write GWCTL_POOL_WEB_ENV_debug or GWCTL_POOL_LIVE_ENV_debug"
        ),
    ),
    "pools that look alike": (
        '[pool.a-b]\napp = "a:a"\n[pool.a_b]\napp = "b:b"\nbind = ":81"\n',
        {"GWCTL_POOL_A_B_THREADS": "2"},
        (
            'environment: GWCTL_POOL_A_B_THREADS = "2": means several pools, whose names differ in - and _ only. '
            "Rename one"
        ),
    ),
    "all variables at once": (
        WEB,
        {"GWCTL_ENV": "A=1"},
        "environment: GWCTL_ENV = …: one variable sets one name. Write GWCTL_ENV_NAME",
    ),
}


@pytest.mark.parametrize(("text", "environ", "message"), IN_ENVIRONMENT.values(), ids=IN_ENVIRONMENT)
def test_mistake_in_the_environment(tmp_path: Path, text: str, environ: dict[str, str], message: str) -> None:
    assert mistakes(tmp_path, text, environ=environ) == [message]


ON_COMMAND_LINE = {
    "a kind": (
        WEB,
        "threads=x",
        'command line: --set threads = "x": expected a whole number, found text',
    ),
    "a name": (
        WEB,
        "pool.web.workers=2",
        'command line: --set pool.web.workers = "2": no such setting. Did you mean `processes`?',
    ),
    "a pool": (
        WEB,
        "pool.api.threads=2",
        'command line: --set pool.api.threads = "2": no such pool. There is `web`',
    ),
    "which pool": (
        TWO_POOLS,
        "threads=2",
        (
            'command line: --set threads = "2": there are several pools. '
            "Use --set with pool.web.threads or pool.live.threads"
        ),
    ),
    "a table": (
        WEB,
        "reload=2",
        'command line: --set reload = "2": expected a table, found text. Write [pool.web.reload]',
    ),
}


@pytest.mark.parametrize(("text", "argument", "message"), ON_COMMAND_LINE.values(), ids=ON_COMMAND_LINE)
def test_mistake_on_the_command_line(tmp_path: Path, text: str, argument: str, message: str) -> None:
    assert mistakes(tmp_path, text, sets=[argument]) == [message]


def test_a_set_without_a_value() -> None:
    with pytest.raises(ConfigError, match=r'^command line: --set = "threads": expected KEY=VALUE$'):
        Override.parse("threads")


def test_no_application_at_all(tmp_path: Path) -> None:
    assert mistakes(tmp_path, None, environ={"GWCTL_PROCESSES": "2"}) == [
        "command line: APP: is missing. Write gwctl start module:application"
    ]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Path("etc/gw.toml"), environ={}, cwd=tmp_path)
    assert str(caught.value) == (
        "etc/gw.toml: cannot be read: No such file or directory. `gwctl init` writes one"
    )


@pytest.mark.parametrize("given", ["etc", "etc/"])
def test_a_folder(tmp_path: Path, given: str) -> None:
    (tmp_path / "etc").mkdir()
    reason = f"{given}: cannot be read: Is a directory"
    with pytest.raises(ConfigError) as caught:
        load(Path(given), environ={}, cwd=tmp_path)
    assert str(caught.value).replace("etc:", f"{given}:") == (
        f"{reason}. A file is expected, and there is no gw.toml in that folder"
    )
    (tmp_path / "etc" / "gw.toml").touch()
    with pytest.raises(ConfigError) as caught:
        load(Path(given), environ={}, cwd=tmp_path)
    assert str(caught.value).replace("etc:", f"{given}:") == f"{reason}. Did you mean etc/gw.toml?"


def test_preload_where_the_master_cannot_adopt_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gwctl.config.checks.sys.platform", "darwin")
    (line,) = mistakes(tmp_path, f"{WEB}preload = true\n")
    assert line == (
        "gw.toml:3: pool.web.preload = true: needs Linux, where the master can adopt a worker. "
        "Leave it out: each worker then imports the application itself"
    )

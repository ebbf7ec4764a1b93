"""Every kind of mistake in gw.toml but wrong names, with exactly what the person is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.config.load import load
from tests.support.mistakes import WEB, mistakes

IN_FILE = {
    # what is missing
    "an empty file": (
        "",
        (
            "gw.toml: there is no pool: nothing to serve. "
            'Write [pool.web] and under it app = "module:application"'
        ),
    ),
    "no application": (
        "\n[pool.web]\nprocesses = 2\n",
        'gw.toml:2: pool.web.app: is missing. Write app = "shop.wsgi:application"',
    ),
    # kinds of values
    "a duration in words": (
        f'{WEB}timeouts.boot_timeout_s = "30s"\n',
        'gw.toml:3: pool.web.timeouts.boot_timeout_s = "30s": expected a number of seconds, found text. Write 30',
    ),
    "milliseconds": (
        f'{WEB}timeouts.linger_s = "500 ms"\n',
        'gw.toml:3: pool.web.timeouts.linger_s = "500 ms": expected a number of seconds, found text. Write 0.5',
    ),
    "a size in words": (
        f'{WEB}limits.body_bytes_max = "10 MiB"\n',
        (
            'gw.toml:3: pool.web.limits.body_bytes_max = "10 MiB": expected a whole number of bytes, found text. '
            "Write 10485760"
        ),
    ),
    "a rate in words": (
        f'{WEB}limits.body_rate_min_bytes_per_s = "2 KB/s"\n',
        (
            'gw.toml:3: pool.web.limits.body_rate_min_bytes_per_s = "2 KB/s": '
            "expected a whole number of bytes per second, found text. Write 2048"
        ),
    ),
    "a rate in bytes": (
        f'{WEB}limits.response_rate_min_bytes_per_s = "500"\n',
        (
            'gw.toml:3: pool.web.limits.response_rate_min_bytes_per_s = "500": '
            "expected a whole number of bytes per second, found text. Write 500"
        ),
    ),
    "a number in quotes": (
        f'{WEB}backlog = "4096"\n',
        'gw.toml:3: pool.web.backlog = "4096": expected a whole number, found text. Write 4096',
    ),
    "a fraction": (
        f"{WEB}threads = 1.5\n",
        "gw.toml:3: pool.web.threads = 1.5: expected a whole number, found a fraction",
    ),
    "a whole number written as a fraction": (
        f"{WEB}threads = 4.0\n",
        "gw.toml:3: pool.web.threads = 4.0: expected a whole number, found a number. Write 4",
    ),
    "true for a number": (
        f"{WEB}processes = true\n",
        'gw.toml:3: pool.web.processes = true: expected a whole number, "auto" or a table, found true or false',
    ),
    "infinity": (
        f"{WEB}timeouts.linger_s = inf\n",
        "gw.toml:3: pool.web.timeouts.linger_s = inf: not in 0..604800",
    ),
    "no number": (
        f"{WEB}timeouts.linger_s = nan\n",
        "gw.toml:3: pool.web.timeouts.linger_s = nan: not in 0..604800",
    ),
    "a range": (f"{WEB}processes = 0\n", "gw.toml:3: pool.web.processes = 0: not in 1..1024"),
    "above": (
        f"{WEB}timeouts.boot_timeout_s = 0\n",
        "gw.toml:3: pool.web.timeouts.boot_timeout_s = 0: must be above 0, at most 604800",
    ),
    "at least": (
        f"{WEB}limits.body_bytes_max = -1\n",
        "gw.toml:3: pool.web.limits.body_bytes_max = -1: must be at least 0",
    ),
    "a word": (
        f'{WEB}worker = "asgy"\n',
        'gw.toml:3: pool.web.worker = "asgy": expected "auto", "sync", "threads" or "asgi". Did you mean "asgi"?',
    ),
    "a word of gunicorn": (
        f'{WEB}worker = "uvicorn.workers.UvicornWorker"\n',
        (
            'gw.toml:3: pool.web.worker = "uvicorn.workers.UvicornWorker": '
            'expected "auto", "sync", "threads" or "asgi". Did you mean "asgi"?'
        ),
    ),
    "a word in capitals": (
        f'{WEB}[master]\nlog_level = "DEBUG"\n',
        'gw.toml:4: master.log_level = "DEBUG": expected "debug", "info", "warning" or "error". Write "debug"',
    ),
    "text": (
        f"{WEB}user = 1000\n",
        'gw.toml:3: pool.web.user = 1000: expected text, found a number. Write "1000"',
    ),
    "an octal number": (
        f"{WEB}umask = 0o027\n",
        (
            'gw.toml:3: pool.web.umask = 23: expected octal permissions, as in "027", found a number. '
            'Write it in quotes, as in "027"'
        ),
    ),
    "no octal number": (
        f'{WEB}socket_mode = "rw-"\n',
        'gw.toml:3: pool.web.socket_mode = "rw-": expected octal permissions, as in "600"',
    ),
    "a pattern with a line after it": (
        f'{WEB}umask = "027\\n"\n',
        'gw.toml:3: pool.web.umask = "027\\n": expected octal permissions, as in "027"',
    ),
    "a prefix": (
        f'{WEB}root_path = "api/"\n',
        'gw.toml:3: pool.web.root_path = "api/": expected a path that starts with / and ends without, as in "/api"',
    ),
    "a list": (
        f"{WEB}bind = 8000\n",
        'gw.toml:3: pool.web.bind = 8000: expected a list of texts, found a number. Write ["8000"]',
    ),
    "an element on a line of its own": (
        f'{WEB}bind = [\n  "127.0.0.1:8000",\n  8001,\n]\n',
        'gw.toml:5: pool.web.bind = 8001: expected text, found a number. Write "8001"',
    ),
    "a table": (
        f"{WEB}limits = true\n",
        "gw.toml:3: pool.web.limits = true: expected a table, found true or false. Write [pool.web.limits]",
    ),
    "a variable that is no text": (
        f"{WEB}env = {{ DEBUG = 1 }}\n",
        'gw.toml:3: pool.web.env.DEBUG = …: expected text, found a number. Write "…"',
    ),
    "a date": (
        f"{WEB}user = 2020-01-01\n",
        'gw.toml:3: pool.web.user = 2020-01-01: expected text, found a date or time. Write "2020-01-01"',
    ),
    # what fits its kind and still is wrong
    "too few open files": (
        f"{WEB}nofile = 10\n",
        ("gw.toml:3: pool.web.nofile = 10: too few. A worker needs at least 32, and one for each connection"),
    ),
    "a port": (
        f'{WEB}bind = "0.0.0.0:80800"\n',
        'gw.toml:3: pool.web.bind = "0.0.0.0:80800": port 80800 is not in 1..65535',
    ),
    "an address twice": (
        f'{WEB}bind = ["127.0.0.1:80", "127.0.0.1:80"]\n',
        'gw.toml:3: pool.web.bind = "127.0.0.1:80": is bound already',
    ),
    "an address in two pools": (
        f'{WEB}[pool.live]\napp = "live:app"\n',
        "gw.toml:3: pool.live.bind: 127.0.0.1:8000 is bound already by pool.web",
    ),
    "an address that another covers": (
        f'{WEB}bind = ":80"\n[pool.live]\napp = "live:app"\nbind = "[::1]:80"\n',
        'gw.toml:6: pool.live.bind = "[::1]:80": is bound already by :80 of pool.web',
    ),
    "no address": (
        f"{WEB}bind = []\n",
        "gw.toml:3: pool.web.bind = []: a pool listens on at least one address",
    ),
    "an application that is a file": (
        '[pool.web]\napp = "shop/wsgi.py:app"\n',
        'gw.toml:2: pool.web.app = "shop/wsgi.py:app": is a file, not a module. Write "shop.wsgi:app"',
    ),
    "WebSockets without asgi": (
        f'{WEB}worker = "sync"\n[pool.web.websocket]\nping_interval_s = 5\n',
        (
            "gw.toml:4: pool.web.websocket: a sync worker has no WebSockets. "
            'Leave the table out, or set worker = "asgi"'
        ),
    ),
    "a switch that is a number": (
        f"{WEB}[pool.web.websocket]\nper_message_deflate = 1\n",
        (
            "gw.toml:4: pool.web.websocket.per_message_deflate = 1: "
            "expected true or false, found a number. Write true"
        ),
    ),
    "threads without threads": (
        f'{WEB}worker = "sync"\nthreads = 4\n',
        (
            "gw.toml:4: pool.web.threads = 4: a sync worker has no threads. "
            'Leave it out, or set worker = "threads"'
        ),
    ),
    "bounds upside down": (
        f"{WEB}processes = {{ min = 4, max = 2 }}\n",
        "gw.toml:3: pool.web.processes.max = 2: less than min (4)",
    ),
    "a surge larger than the pool may be": (
        f"{WEB}processes = {{ min = 1, max = 2 }}\nreload.surge = 3\n",
        "gw.toml:4: pool.web.reload.surge = 3: more than there are processes (2)",
    ),
    "a bound that is none": (
        f"{WEB}processes = {{ min = 0, max = 3 }}\n",
        "gw.toml:3: pool.web.processes.min = 0: not in 1..1024",
    ),
    "no such bound": (
        f"{WEB}[pool.web.processes]\nmaximum = 4\n",
        "gw.toml:4: pool.web.processes.maximum = 4: no such setting. There are `min`, `max`, `busy` and `shrink_after_s`",
    ),
    "a surge larger than the pool": (
        f"{WEB}processes = 2\nreload.surge = 3\n",
        "gw.toml:4: pool.web.reload.surge = 3: more than there are processes (2)",
    ),
    "a backoff upside down": (
        f"{WEB}[pool.web.crash]\nbackoff_min_s = 90\n",
        "gw.toml:4: pool.web.crash.backoff_min_s = 90: more than backoff_max_s (60)",
    ),
    "a backoff upside down by its other end": (
        f"{WEB}[pool.web.crash]\nbackoff_max_s = 0.25\n",
        "gw.toml:4: pool.web.crash.backoff_max_s = 0.25: less than backoff_min_s (0.5)",
    ),
    "a soft limit of memory that the hard one makes useless": (
        f"{WEB}[pool.web.recycle]\nmemory_soft_bytes = 2000\nmemory_hard_bytes = 1000\n",
        (
            "gw.toml:4: pool.web.recycle.memory_soft_bytes = 2000: not less than memory_hard_bytes (1000). "
            "A worker that is killed at the one never comes to be replaced at the other"
        ),
    ),
    "a field larger than a head": (
        f"{WEB}[pool.web.limits]\nheader_bytes_max = 100000\n",
        (
            "gw.toml:4: pool.web.limits.header_bytes_max = 100000: more than head_bytes_max (65536). "
            "Set head_bytes_max too, which bounds all of a head: at least 100000"
        ),
    ),
    "a linger that outlives the drain": (
        f"{WEB}[pool.web.timeouts]\ndrain_timeout_s = 5\nlinger_s = 5\n",
        "gw.toml:5: pool.web.timeouts.linger_s = 5: not less than drain_timeout_s (5)",
    ),
    "a user": (
        f'{WEB}user = "nobodyy"\n',
        'gw.toml:3: pool.web.user = "nobodyy": there is no such user. Did you mean "nobody"?',
    ),
    "a user of the control socket": (
        f'{WEB}[control]\nallow_users = ["root", "nobodyy"]\n',
        ('gw.toml:4: control.allow_users = "nobodyy": there is no such user. Did you mean "nobody"?'),
    ),
    "a group": (
        f'{WEB}socket_group = "no-such-group-at-all"\n',
        'gw.toml:3: pool.web.socket_group = "no-such-group-at-all": there is no such group',
    ),
    "a number that is no user": (
        f'{WEB}user = "3999999999"\n',
        (
            'gw.toml:3: pool.web.user = "3999999999": this number has no entry and so no group of its own. '
            "Set `group` too"
        ),
    ),
    "a folder": (f'{WEB}chdir = "gone"\n', 'gw.toml:3: pool.web.chdir = "gone": there is no folder gone'),
    "a file for a folder": (
        f'{WEB}pythonpath = ["gw.toml"]\n',
        'gw.toml:3: pool.web.pythonpath = "gw.toml": gw.toml is not a folder',
    ),
    "a file": (f'{WEB}env_file = "gone"\n', 'gw.toml:3: pool.web.env_file = "gone": there is no file gone'),
    "a variable's name": (
        f'{WEB}env = {{ "A=B" = "1" }}\n',
        'gw.toml:3: pool.web.env."A=B" = …: this cannot be the name of a variable',
    ),
    # no TOML
    "no quotes": (
        "[pool.web]\napp = shop:app\n",
        'gw.toml:2: is not TOML: invalid value. Text stands in quotes: app = "shop:app"',
    ),
    "no equals sign": (
        f"{WEB}bind\n",
        "gw.toml:3: is not TOML: expected '=' after a key in a key/value pair",
    ),
    "twice": (f'{WEB}app = "x"\n', "gw.toml:3: is not TOML: cannot overwrite a value"),
    "an array without its end": (f"{WEB}bind = [1\n\n[x]\n", "gw.toml:5: is not TOML: unclosed array"),
    "an end too early": (f"{WEB}bind = [\n\n", "gw.toml:3: is not TOML: invalid value"),
    "no UTF-8": (b'# a\n\nname = "\xe9"\n', "gw.toml:3: is not UTF-8 text"),
    # what is told to others
    "an empty part in a host's name": (
        f'{WEB}[statsd]\nto = "udp://a..b:8125"\n',
        'gw.toml:4: statsd.to = "udp://a..b:8125": a..b cannot be the name of a host',
    ),
    "a long part in a host's name": (
        f'{WEB}[statsd]\nto = "udp://{"x" * 64}:8125"\n',
        f'gw.toml:4: statsd.to = "udp://{"x" * 50}...: {"x" * 64} cannot be the name of a host',
    ),
    "metrics that the admin process cannot read": (
        (
            f'{WEB}user = "nobody"\numask = "077"\napplication_metrics = true\n'
            '[admin]\nbind = "127.0.0.1:9100"\nuser = "daemon"\n'
        ),
        (
            'gw.toml:4: pool.web.umask = "077": the admin process, another user, cannot read what '
            "application_metrics keeps. Write 027, or have both run as one user"
        ),
    ),
}


@pytest.mark.parametrize(("text", "message"), IN_FILE.values(), ids=IN_FILE)
def test_mistake_in_the_file(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert mistakes(tmp_path, text) == [message]


@pytest.mark.parametrize("to", ["", 'to = ""'])
def test_options_of_figures_that_nobody_is_sent(tmp_path: Path, to: str) -> None:
    text = f'{WEB}[statsd]\n{to}\ninterval_s = 30\ntags = ["env:production", "shop"]\n'
    why = 'nothing is sent: statsd.to is empty. Set to = "udp://127.0.0.1:8125", or leave this out'
    assert mistakes(tmp_path, text) == [
        f"gw.toml:5: statsd.interval_s = 30: {why}",
        f'gw.toml:6: statsd.tags = ["env:production", "shop"]: {why}',
    ]


@pytest.mark.parametrize("watch", ["", "watch_s = 0"])
def test_options_of_a_watch_that_there_is_not(tmp_path: Path, watch: str) -> None:
    text = (
        f"{WEB}[pool.web.reload]\n{watch}\n"
        'errors_max = "3x"\nlatency_max = "off"\nrequests_min = 60\ncanaries = 1\n'
    )
    why = "no reload is watched: watch_s is 0. Set watch_s, or leave this out"
    assert mistakes(tmp_path, text) == [
        f'gw.toml:5: pool.web.reload.errors_max = "3x": {why}',
        f'gw.toml:6: pool.web.reload.latency_max = "off": {why}',
        f"gw.toml:7: pool.web.reload.requests_min = 60: {why}",
    ]


def test_one_mistake_of_a_watch_is_one_problem(tmp_path: Path) -> None:
    text = f'{WEB}[pool.web.reload]\nwatch_s = "half"\nerrors_max = "3x"\n'
    assert [line.split(":")[1] for line in mistakes(tmp_path, text)] == ["4"]


@pytest.mark.parametrize(
    ("umask", "user"), [("027", "daemon"), ("077", ""), ("077", "nobody"), ("077", "root"), ("", "daemon")]
)
def test_metrics_that_the_admin_process_can_read(tmp_path: Path, umask: str, user: str) -> None:
    """As one of the group, as the same user, or as root; with no umask of its own a pool has the master's."""
    (tmp_path / "gw.toml").write_text(
        f'{WEB}user = "nobody"\numask = "{umask}"\napplication_metrics = true\n'
        f'[admin]\nbind = "127.0.0.1:9100"\nuser = "{user}"\n'
    )
    assert load(Path("gw.toml"), environ={}, cwd=tmp_path).settings.pool["web"].application_metrics


def test_mistakes_in_the_env_file(tmp_path: Path) -> None:
    """They are told with its own name and lines, beside those of gw.toml."""
    (tmp_path / "shop.env").write_text("A=1\nnonsense\n")
    assert mistakes(tmp_path, f'{WEB}env_file = "shop.env"\nthreads = 0\n') == [
        "gw.toml:4: pool.web.threads = 0: not in 1..1024",
        "shop.env:2: non…: expected NAME=value",
    ]


def test_all_at_once_and_in_order(tmp_path: Path) -> None:
    """One mistake hides no other one: files by line, then the environment, then the command line."""
    text = '[pool.web]\nworkers = 4\nbind = ["0.0.0.0:80800", 3]\nthreads = 0\n[master]\nlog_level = "x"\n'
    told = mistakes(tmp_path, text, sets=["nofile=-1"], environ={"GWCTL_BACKLOG": "0"})
    assert [message.split(": ")[0] for message in told] == [
        "gw.toml:1",
        "gw.toml:2",
        "gw.toml:3",
        "gw.toml:3",
        "gw.toml:4",
        "gw.toml:6",
        "environment",
        "command line",
    ]


def test_long_values_are_cut(tmp_path: Path) -> None:
    (told,) = mistakes(tmp_path, f'{WEB}zzz = "{"x" * 500}"\n')
    assert len(told) < 150
    assert "xxx...: no such setting" in told

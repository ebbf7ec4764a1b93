"""Settings with other names here, or for other workers, and mistakes about proxies: what the person is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mistakes import WEB, mistakes

IN_FILE = {
    # proxies
    "an address of a proxy with a port": (
        f'{WEB}trusted_proxies = ["10.0.0.1:80"]\n',
        (
            'gw.toml:3: pool.web.trusted_proxies = "10.0.0.1:80": expected an IP address, a network such as '
            '"10.0.0.0/8", "unix" or "*". Write "10.0.0.1": a proxy may connect from any port'
        ),
    ),
    "a network with too many bits": (
        f'{WEB}trusted_proxies = ["::1", "10.0.0.1/8"]\n',
        (
            'gw.toml:3: pool.web.trusted_proxies = "10.0.0.1/8": has bits beyond its prefix. '
            'Write "10.0.0.0/8" or "10.0.0.1"'
        ),
    ),
    "a header that says nothing of clients": (
        f'{WEB}forwarded_headers = ["x-forwarded-for", "X_Forwarded_Protocol"]\n',
        (
            'gw.toml:3: pool.web.forwarded_headers = "X_Forwarded_Protocol": expected "Forwarded", '
            '"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port" or '
            '"X-Forwarded-Prefix". Did you mean "X-Forwarded-Proto"?'
        ),
    ),
    "a proxy protocol that nobody may speak": (
        f"{WEB}proxy_protocol = true\ntrusted_proxies = []\n",
        "gw.toml:3: pool.web.proxy_protocol = true: nobody may connect: trusted_proxies is empty",
    ),
    "uvicorn's name for trusted proxies": (
        f'{WEB}forwarded_allow_ips = "*"\n',
        'gw.toml:3: pool.web.forwarded_allow_ips = "*": no such setting. Did you mean `trusted_proxies`?',
    ),
    # names
    "a name of gunicorn": (
        f"{WEB}workers = 4\n",
        "gw.toml:3: pool.web.workers = 4: no such setting. Did you mean `processes`?",
    ),
    "a name that lives in another table": (
        f"{WEB}keepalive = 5\n",
        "gw.toml:3: pool.web.keepalive = 5: no such setting. Did you mean `timeouts.keepalive_timeout_s`?",
    ),
    "a name of the master in a pool": (
        f'{WEB}loglevel = "info"\n',
        'gw.toml:3: pool.web.loglevel = "info": no such setting. Did you mean `master.log_level`?',
    ),
    "uwsgi's name for a limit": (
        f"{WEB}harakiri = 30\n",
        "gw.toml:3: pool.web.harakiri = 30: no such setting. Did you mean `timeouts.request_timeout_s`?",
    ),
    "a name of nginx": (
        f'{WEB}client_max_body_size = "10M"\n',
        (
            'gw.toml:3: pool.web.client_max_body_size = "10M": no such setting. '
            "Did you mean `limits.body_bytes_max`?"
        ),
    ),
    "a setting that is a table here": (
        f"{WEB}reload = true\n",
        (
            "gw.toml:3: pool.web.reload = true: expected a table, found true or false. "
            "Files are not watched: run gwctl reload after a change"
        ),
    ),
    "gunicorn's access log on stdout": (
        f'{WEB}access_log = "-"\n',
        'gw.toml:3: pool.web.access_log = "-": expected "off", "stdout" or a file. Write "stdout"',
    ),
    "an access log that is a folder": (
        f'{WEB}access_log = "."\n',
        'gw.toml:3: pool.web.access_log = ".": is a folder. Write "./access.log"',
    ),
    "an event log on stdout": (
        f'{WEB}[log]\nto = "-"\n',
        (
            'gw.toml:4: log.to = "-": expected "stderr", "journal" or "syslog", or a file. '
            'Did you mean "stderr"?'
        ),
    ),
    "an event log in journald": (
        f'{WEB}[log]\nto = "journald"\n',
        (
            'gw.toml:4: log.to = "journald": expected "stderr", "journal" or "syslog", or a file. '
            'Did you mean "journal"?'
        ),
    ),
    "an event log that is a folder": (
        f'{WEB}[log]\nto = "."\n',
        'gw.toml:4: log.to = ".": is a folder. Write "./events.log"',
    ),
    "a host of syslog": (
        f'{WEB}[log]\nto = "syslog://logs:514"\n',
        (
            'gw.toml:4: log.to = "syslog://logs:514": after syslog:// comes an IP address and a port: '
            "a name would have to be looked up"
        ),
    ),
    "a name of a pool in the master": (
        f"{WEB}[master]\nprocesses = 4\n",
        "gw.toml:4: master.processes = 4: no such setting. It belongs in [pool.NAME]",
    ),
    "a slip": (
        f"{WEB}proceses = 4\n",
        "gw.toml:3: pool.web.proceses = 4: no such setting. Did you mean `processes`?",
    ),
    "a dash": (
        f'{WEB}worker-class = "sync"\n',
        'gw.toml:3: pool.web.worker-class = "sync": no such setting. Did you mean `worker`?',
    ),
    "a setting one table too high": (
        f"{WEB}drain_timeout_s = 5\n",
        "gw.toml:3: pool.web.drain_timeout_s = 5: no such setting. It belongs in [pool.web.timeouts]",
    ),
    "what gwctl does otherwise": (
        f"{WEB}daemon = true\n",
        (
            "gw.toml:3: pool.web.daemon = true: no such setting. "
            "gwctl stays in the foreground: let systemd keep it running"
        ),
    ),
    "a timeout of gunicorn": (
        f"{WEB}timeout = 30\n",
        (
            "gw.toml:3: pool.web.timeout = 30: no such setting. "
            "Each thing has its own: request_timeout_s, boot_timeout_s, drain_timeout_s and more"
        ),
    ),
    "nothing like it": (
        f"{WEB}[pool.web.crash]\nzzz = 1\n",
        (
            "gw.toml:4: pool.web.crash.zzz = 1: no such setting. "
            "There are `backoff_min_s`, `backoff_max_s`, `healthy_after_s`, "
            "`breaker_failures` and `breaker_retry_s`"
        ),
    ),
    "nothing like it, at the top": (
        f"zzz = 1\n{WEB}",
        "gw.toml:1: zzz = 1: no such setting. A file has [master] and [pool.NAME]",
    ),
    "a slip in a table's name": (
        f"{WEB}[pool.web.timeout]\ndrain_timeout_s = 3\n",
        "gw.toml:3: pool.web.timeout: no such table. Did you mean [pool.web.timeouts]?",
    ),
    "a pool without its word": (
        '[web]\napp = "shop:app"\n',
        "gw.toml:1: web: no such table. Did you mean [pool.web]?",
    ),
    "many pools": (
        '[pools.web]\napp = "shop:app"\n',
        "gw.toml:1: pools: no such table. Did you mean [pool.NAME]?",
    ),
    "a pool without a name": (
        '[pool]\napp = "shop:app"\n',
        'gw.toml:2: pool.app = "shop:app": expected a pool\'s table, found text. It belongs in [pool.web]',
    ),
    "an unfit name": (
        '[pool."a b"]\napp = "shop:app"\n',
        'gw.toml:1: pool."a b": a pool\'s name has at most 32 letters, digits, and _ - inside',
    ),
    "the master's name": (
        '[pool.master]\napp = "shop:app"\n',
        "gw.toml:1: pool.master: master cannot be the name of a pool",
    ),
}


@pytest.mark.parametrize(("text", "message"), IN_FILE.values(), ids=IN_FILE)
def test_mistake_in_the_file(tmp_path: Path, text: str, message: str) -> None:
    assert mistakes(tmp_path, text) == [message]

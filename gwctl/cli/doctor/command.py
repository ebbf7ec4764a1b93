"""The command ``gwctl doctor``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import msgspec

from gwctl.cli.doctor import haproxy, nginx
from gwctl.cli.doctor.checks import of_machine
from gwctl.cli.doctor.finding import Finding, Verdict, fail, render, warn
from gwctl.cli.doctor.machine import read_machine
from gwctl.cli.doctor.proxied import Proxied, proxied
from gwctl.cli.options import SettingsCommand, read, reader, set_overrides, settings_options
from gwctl.errors import ExitStatus
from gwctl.log.text_lines import escaped

_PROXY_BYTES_MAX = 1 << 24
_PATH = click.Path(path_type=Path, readable=False)


@click.command(cls=SettingsCommand, short_help="Check this machine against the settings.")
@settings_options
@click.option(
    "--nginx", "nginx_file", type=_PATH, metavar="FILE", help="Look at this nginx configuration, too."
)
@click.option(
    "--haproxy", "haproxy_file", type=_PATH, metavar="FILE", help="Look at this one of HAProxy, too."
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def doctor(
    app: str | None,
    file: Path | None,
    settings: tuple[str, ...],
    *,
    nginx_file: Path | None,
    haproxy_file: Path | None,
    as_json: bool,
) -> None:
    """Check this machine, and the proxy in front, against the settings; change nothing.

    \b
    gwctl doctor                                 of gw.toml in this folder
    gwctl doctor --nginx /etc/nginx/nginx.conf   keep-alive and timeouts of nginx, too
    gwctl doctor --json | jq '.findings[] | select(.verdict != "ok")'

    Each line says what was found, with its numbers; below it stands what mends it. Run it as the user of the
    master, on its machine. The exit status is 0 when all is well, 1 with a warning or a failure, 2 when the
    settings are wrong.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    loaded = read(reader(app, file, set_overrides(settings)))
    found = of_machine(read_machine(loaded.settings, os.environ), loaded.settings)
    found += [warn("settings", text, "see gwctl check") for text in loaded.warnings]
    pools = proxied(loaded.settings)
    found += _proxy("nginx", nginx_file, nginx.check, pools)
    found += _proxy("haproxy", haproxy_file, haproxy.check, pools)
    well = all(each.verdict is Verdict.OK for each in found)
    if as_json:
        click.echo(json.dumps({"ok": well, "findings": msgspec.to_builtins(found)}, indent=2))
    else:
        click.echo(escaped(render(found)))
    if not well:
        raise SystemExit(int(ExitStatus.FAILED))


def _proxy(
    about: str,
    file: Path | None,
    check: Callable[[str, Sequence[Proxied]], Iterator[Finding]],
    pools: Sequence[Proxied],
) -> list[Finding]:
    if file is None:
        return []
    try:
        with file.open("rb") as opened:
            text = opened.read(_PROXY_BYTES_MAX).decode("utf-8", "replace")
        return list(check(text, pools))
    except OSError as error:
        return [
            fail(
                about,
                f"{about}: {file} cannot be read: {error.strerror}",
                "name a file that this user may read",
            )
        ]
    except nginx.NotUnderstoodError as error:
        return [fail(about, f"{about}: {file} is no configuration: {error}", "nginx -t says more")]

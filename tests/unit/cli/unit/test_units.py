"""The units that are written: what the settings make of them, and that systemd takes them without a word."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gwctl.cli.unit.command import units_for
from gwctl.cli.unit.needs import Needs, needs_of
from gwctl.cli.unit.review import review
from gwctl.cli.unit.service import Wanted
from gwctl.cli.unit.socket_unit import UnitError, opened
from gwctl.cli.unit.unit_file import parsed, rendered, seconds_of, word
from gwctl.config.load import load
from tests.support import toml_text
from tests.support.debian import need

COMMAND = ("/srv/shop/venv/bin/gwctl",)
PYTHON = Path("/usr/bin/python3.11")


class Made:
    """The units of a gw.toml."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        pool = {"app": "shop:application", "bind": "127.0.0.1:8000"}
        tables: dict[str, Any] = {"master": {"name": "shop"}, "pool": {"web": pool}}
        for key, value in settings.items():
            table, _, name = key.partition("__")
            target = pool if table == "web" else tables.setdefault(table, {})
            target[name] = value
        (folder / "gw.toml").write_text(toml_text.dumps(tables), "utf-8")
        self.loaded = load(folder / "gw.toml", environ={}, cwd=folder)

    @property
    def needs(self) -> Needs:
        return needs_of(self.loaded, Path("/srv/shop/gw.toml"), COMMAND, PYTHON)

    def texts(self, wanted: Wanted | None = None, listen: tuple[str, ...] | None = None) -> Mapping[str, str]:
        sockets = opened(self.loaded.settings, listen) if listen is not None else []
        units = units_for(self.needs, wanted or Wanted(), sockets)
        return {name: rendered(lines, explain=False) for name, lines in units.items()}

    def service(self, wanted: Wanted | None = None) -> str:
        return self.texts(wanted)["gwctl-shop.service"]

    def complaints(self, wanted: Wanted | None = None, listen: tuple[str, ...] | None = None) -> list[str]:
        """What systemd-analyze says of them, apart from programs and folders that are not here."""
        analyze = need("systemd-analyze", "systemd")
        units = self.texts(wanted, listen)
        for name, text in units.items():
            (self.folder / name).write_text(text, "utf-8")
        names = [str(self.folder / name).replace("@.", "@shop.") for name in units]
        command = [analyze, "verify", "--man=no", *(["--user"] if wanted and wanted.of_user else []), *names]
        environ = os.environ | {"XDG_RUNTIME_DIR": str(self.folder)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        return [line for line in done.stderr.splitlines() if "is not executable" not in line]

    def exposure(self) -> float:
        analyze = need("systemd-analyze", "systemd")
        path = self.folder / "gwctl-shop.service"
        path.write_text(self.service(), "utf-8")
        command = [analyze, "security", "--offline=true", "--no-pager", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        found = re.search(r"Overall exposure level for .*: ([\d.]+)", done.stdout)
        assert found, done.stdout
        return float(found[1])


def test_the_default_is_accepted_and_as_shut_in_as_can_be(tmp_path: Path) -> None:
    made = Made(tmp_path)
    assert made.complaints() == []
    assert made.exposure() <= 1.0


CASES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "default": (
        {},
        [
            "ExecStart=/srv/shop/venv/bin/gwctl start -c /srv/shop/gw.toml",
            "ExecReload=/srv/shop/venv/bin/gwctl reload -c /srv/shop/gw.toml",
            "WorkingDirectory=/srv/shop",
            "TimeoutStartSec=65",
            "TimeoutStopSec=40",
            "DynamicUser=yes",
            "KillMode=process",
            "FileDescriptorStoreMax=8",
            "RuntimeDirectory=gwctl-shop",
            "RestartPreventExitStatus=2 4",
            "CapabilityBoundingSet=",
            "PrivateUsers=yes",
        ],
        ["User=", "AmbientCapabilities", "ReadWritePaths", "LogsDirectory"],
    ),
    "hard limits of memory": (
        {"web__recycle": {"memory_hard_bytes": 1 << 30}},
        ["Delegate=memory", "DelegateSubgroup=gwctl-master"],
        ["ProtectControlGroups"],
    ),
    "no groups": (
        {"web__recycle": {"memory_hard_bytes": 1 << 30}, "master__cgroups": "off"},
        ["ProtectControlGroups=yes"],
        ["Delegate"],
    ),
    "times": (
        {
            "web__timeouts": {"boot_timeout_s": 300, "drain_timeout_s": 120},
            "master__drain_delay_s": 5,
            "master__bind_retry_s": 0,
        },
        ["TimeoutStartSec=300", "TimeoutStopSec=135"],
        [],
    ),
    "low port": (
        {"web__bind": ["0.0.0.0:80"]},
        ["AmbientCapabilities=CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"],
        ["PrivateUsers"],
    ),
    "one user": (
        {"web__user": "nobody", "web__group": "nogroup"},
        ["User=nobody", "Group=nogroup"],
        ["DynamicUser", "User=root"],
    ),
    "several users": (
        {"web__user": "nobody", "admin__bind": ["127.0.0.1:9100"], "admin__user": "daemon"},
        ["User=root", "SystemCallFilter=~@resources"],
        ["DynamicUser", "PrivateUsers", "~@privileged"],
    ),
    "files": (
        {
            "web__access_log": "/var/log/shop/access.log",
            "master__pidfile": "/run/shop/gwctl.pid",
            "web__bind": ["unix:/srv/shop/run/web.sock", ":8000"],
        },
        [
            "LogsDirectory=shop",
            "RuntimeDirectory=gwctl-shop shop",
            "ReadWritePaths=/srv/shop/run",
            "FileDescriptorStoreMax=8",
        ],
        [],
    ),
    "many connections": (
        {"web__connections_max": 50_000},
        ["LimitNOFILE=65536"],
        [],
    ),
    "a socket for nginx": (
        {"web__bind": ["unix:/run/shop/web.sock"], "web__socket_group": "daemon"},
        ["SupplementaryGroups=daemon", "SystemCallFilter=@chown", "DynamicUser=yes"],
        ["PrivateUsers"],
    ),
    "a socket of another user": (
        {"web__bind": ["unix:/run/shop/web.sock"], "web__socket_user": "daemon"},
        ["User=root"],
        ["PrivateUsers", "DynamicUser"],
    ),
    "others may control it": ({"control__allow_users": ["daemon"]}, [], ["PrivateUsers"]),
    "some of systemd, some not": (
        {"web__bind": ["systemd:web", "0.0.0.0:443"], "admin__bind": ["127.0.0.1:9100"]},
        ["Sockets=gwctl-shop.socket", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "FileDescriptorStoreMax=8"],
        ["PrivateUsers"],
    ),
    "sockets of systemd": (
        {"web__bind": ["systemd:web"]},
        ["Requires=gwctl-shop.socket", "Sockets=gwctl-shop.socket"],
        ["FileDescriptorStoreMax"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_settings_make_of_it(tmp_path: Path, case: str) -> None:
    settings, there, not_there = CASES[case]
    made = Made(tmp_path, **settings)
    lines = made.service().splitlines()
    assert [line for line in there if line not in lines] == []
    assert [start for start in not_there if any(line.startswith(start) for line in lines)] == []
    assert review(parsed(made.service()), made.needs) == [], "what is written fits"


@pytest.mark.parametrize(
    ("settings", "wanted", "listen"),
    [
        ({"web__bind": ["0.0.0.0:8000", "[::]:8000"]}, Wanted(), ()),
        ({}, Wanted(of_user=True), None),
        ({}, Wanted(template=True), None),
        ({"web__bind": [":8000", "unix:/run/shop/web.sock"]}, Wanted(), ()),
        ({"web__bind": ["systemd:web"]}, Wanted(), ("web=0.0.0.0:80",)),
        ({"web__bind": ["0.0.0.0:80"], "web__access_log": "/var/log/shop/a"}, Wanted(user="daemon"), None),
        ({"web__user": "nobody", "admin__bind": ["127.0.0.1:9100"], "admin__user": "daemon"}, Wanted(), None),
    ],
)
def test_systemd_takes_all_of_them(
    tmp_path: Path, settings: dict[str, Any], wanted: Wanted, listen: tuple[str, ...] | None
) -> None:
    assert Made(tmp_path, **settings).complaints(wanted, listen) == []


def test_a_folder_with_a_blank(tmp_path: Path) -> None:
    made = Made(tmp_path)
    needs = needs_of(made.loaded, Path("/srv/my shop/100%/gw.toml"), ("/srv/my shop/venv/bin/gwctl",), PYTHON)
    text = rendered(units_for(needs, Wanted(), [])["gwctl-shop.service"], explain=False)
    assert "WorkingDirectory=/srv/my shop/100%%\n" in text
    assert 'ExecStart="/srv/my shop/venv/bin/gwctl" start -c "/srv/my shop/100%%/gw.toml"\n' in text
    assert review(parsed(text), needs) == []
    (tmp_path / "blank.service").write_text(text, "utf-8")
    analyze = need("systemd-analyze", "systemd")
    command = [analyze, "verify", "--man=no", str(tmp_path / "blank.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in done.stderr.splitlines() if "is not executable" not in line] == []


def test_each_family_has_its_socket(tmp_path: Path) -> None:
    for bind in ([":8000"], ["0.0.0.0:8000", "[::]:8000"]):
        text = "".join(Made(tmp_path, web__bind=bind).texts(Wanted(), ()).values())
        assert "ListenStream=0.0.0.0:8000\n" in text
        assert "ListenStream=[::]:8000\n" in text
        assert "BindIPv6Only=ipv6-only\n" in text


def test_who_may_connect_is_said_to_systemd(tmp_path: Path) -> None:
    settings = {"web__bind": ["unix:/run/x.sock"], "web__socket_mode": "666", "web__socket_group": "daemon"}
    text = Made(tmp_path, **settings).texts(Wanted(), ())["gwctl-shop.socket"]
    assert "SocketMode=666\nSocketGroup=daemon\n" in text


def test_type_notify_reload(tmp_path: Path) -> None:
    text = Made(tmp_path).service(Wanted(notify_reload=True))
    assert "Type=notify-reload\n" in text
    assert "ExecReload" not in text


def test_a_template_is_of_any_folder(tmp_path: Path) -> None:
    texts = Made(tmp_path, web__access_log="/var/log/shop/access.log").texts(Wanted(template=True))
    text = texts["gwctl@.service"]
    elsewhere = Made(tmp_path, web__access_log="/srv/shop/log/a.log").texts(Wanted(template=True))
    assert "ReadWritePaths=/srv/%i/log\n" in elsewhere["gwctl@.service"]
    assert "ExecStart=/srv/%i/venv/bin/gwctl start -c /srv/%i/gw.toml\n" in text
    assert "WorkingDirectory=/srv/%i\n" in text
    assert "RuntimeDirectory=gwctl-%i\n" in text
    assert "LogsDirectory=%i\n" in text


def test_sockets_by_name(tmp_path: Path) -> None:
    made = Made(tmp_path, web__bind=["127.0.0.1:8000", "unix:/run/shop/web.sock"], web__backlog=512)
    texts = made.texts(Wanted(), ())
    assert list(texts) == ["gwctl-shop.service", "gwctl-shop.socket", "gwctl-shop-web-2.socket"]
    assert "ListenStream=127.0.0.1:8000\nFileDescriptorName=web\nBacklog=512\n" in texts["gwctl-shop.socket"]
    assert "ListenStream=/run/shop/web.sock\n" in texts["gwctl-shop-web-2.socket"]
    assert "Requires=gwctl-shop.socket gwctl-shop-web-2.socket\n" in texts["gwctl-shop.service"]
    assert [each.bound for each in opened(made.loaded.settings, ())] == ["systemd:web", "systemd:web-2"]


@pytest.mark.parametrize(
    ("bind", "listen", "said"),
    [
        (["systemd:web"], (), "where is systemd:web to listen? Say --listen web=ADDRESS"),
        (["fd:3"], (), "pool.web binds fd:3: a descriptor that somebody else passes"),
        (["systemd:web"], ("web",), "--listen web: write NAME=ADDRESS"),
        (["systemd:web"], ("web=8000x",), "8000x"),
        (["127.0.0.1:1"], ("live=127.0.0.1:2",), "no pool binds systemd:live"),
    ],
)
def test_what_no_socket_unit_can_be_made_of(
    tmp_path: Path, bind: list[str], listen: tuple[str, ...], said: str
) -> None:
    made = Made(tmp_path, web__bind=bind)
    with pytest.raises(UnitError) as caught:
        opened(made.loaded.settings, listen)
    assert said in str(caught.value)


def test_words_are_read_as_they_are_meant() -> None:
    assert word("/srv/a b") == '"/srv/a b"'
    assert word("/srv/100%/x") == "/srv/100%%/x"
    assert word('a"b\\c') == '"a\\"b\\\\c"'
    assert word("/srv/$x", command=True) == '"/srv/$$x"'


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1min 30s", 90), ("500ms", 0.5), ("infinity", None), ("", None), ("2 fortnights", None)],
)
def test_spans_of_time(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


def test_a_unit_is_read_as_systemd_reads_it() -> None:
    unit = parsed(
        "[Service]\n# a comment\nExecStart=/bin/a \\\n  # within\n  -c b\nReadWritePaths=/a\nReadWritePaths=\n"
        "ReadWritePaths=/b\nPrivateTmp = true\nnonsense\n[Unit]\nRequires=x.socket\n"
    )
    assert unit.one("ExecStart") == "/bin/a  -c b"
    assert unit.all("ReadWritePaths") == ["/b"]
    assert unit.is_on("PrivateTmp")
    assert unit.all("Requires", "Unit") == ["x.socket"]
    assert unit.one("Requires") == ""


# ---- a unit that is there

GOOD = """
[Unit]
Requires=gwctl-shop.socket
[Service]
Type=notify
ExecStart=/srv/shop/venv/bin/gwctl start -c /srv/shop/gw.toml
ExecReload=/srv/shop/venv/bin/gwctl reload -c /srv/shop/gw.toml
WorkingDirectory=/srv/shop
User=shop
KillMode=process
Restart=on-failure
RestartPreventExitStatus=2 4
RuntimeDirectory=gwctl-shop
FileDescriptorStoreMax=8
OOMPolicy=continue
ProtectSystem=strict
ProtectHome=yes
LogsDirectory=shop
"""


@pytest.mark.parametrize(
    ("settings", "change", "said"),
    [
        ({}, ("Type=notify", "Type=exec"), "Set Type=notify"),
        ({}, ("Type=notify", "Type=notify\nNotifyAccess=all"), "Set NotifyAccess=main"),
        (
            {},
            (
                "ExecReload=/srv/shop/venv/bin/gwctl reload -c /srv/shop/gw.toml",
                "ExecReload=kill -HUP $MAINPID",
            ),
            "does not wait",
        ),
        ({}, ("ExecReload", "ExecRelod"), "no ExecReload="),
        ({}, ("reload -c /srv/shop", "reload -c /srv/other"), "reloads what /srv/other/gw.toml starts"),
        ({}, ("venv/bin/gwctl start", "venv/bin/gunicorn"), "does not name gwctl"),
        ({}, ("User=shop", "User=shop\nKillSignal=SIGINT"), "Set KillSignal=SIGTERM"),
        ({}, ("User=shop", "User=shop\nExecStop=/bin/kill -9 $MAINPID"), "ExecStop= kills the master"),
        ({}, ("OOMPolicy=continue", "OOMPolicy=kill"), "Set OOMPolicy=continue"),
        ({}, ("OOMPolicy=continue", ""), "OOMPolicy=stop: if the kernel"),
        ({}, ("User=shop", "User=shop\nIPAddressDeny=any"), "Set IPAddressAllow="),
        ({}, ("User=shop", "User=shop\nSocketBindDeny=any"), "Set SocketBindAllow="),
        ({}, ("User=shop", "User=shop\nInaccessiblePaths=-/srv"), "/srv/shop cannot be seen"),
        ({}, ("User=shop", "User=shop\nTemporaryFileSystem=/srv:ro"), "set BindReadOnlyPaths=/srv/shop"),
        (
            {"web__bind": ["unix:/run/gwctl-shop/web.sock"]},
            ("", ""),
            "Set RuntimeDirectoryPreserve=restart",
        ),
        (
            {"web__access_log": "/srv/shop/log/x.log"},
            ("ProtectSystem=strict", "ReadOnlyPaths=/srv"),
            "cannot be written (ReadOnlyPaths=/srv)",
        ),
        ({}, ("start -c /srv/shop", "start -c /srv/other"), "not with /srv/shop/gw.toml"),
        ({}, ("KillMode=process", "KillMode=mixed"), "Set KillMode=process"),
        ({}, ("KillMode=process", ""), "KillMode=control-group"),
        ({}, ("Type=notify", "Type=simple\nTimeoutStopSec=5"), "Set TimeoutStopSec=40"),
        ({}, ("Restart=on-failure", ""), "Set Restart=on-failure"),
        ({}, ("RestartPreventExitStatus=2 4", ""), "again and again"),
        ({"web__user": "nobody"}, ("User=shop", "DynamicUser=yes"), "Set User=nobody"),
        ({"web__user": "nobody"}, ("", ""), "only root can"),
        ({"web__bind": ["0.0.0.0:80"]}, ("", ""), "AmbientCapabilities=CAP_NET_BIND_SERVICE"),
        (
            {"web__bind": ["0.0.0.0:80"]},
            ("User=shop", "CapabilityBoundingSet="),
            "lacks CAP_NET_BIND_SERVICE",
        ),
        ({"web__bind": ["systemd:web"]}, ("Requires=gwctl-shop.socket", ""), "names no socket unit"),
        ({}, ("FileDescriptorStoreMax=8", ""), "a restart refuses connections"),
        ({"web__bind": [":8000", ":8001"]}, ("StoreMax=8", "StoreMax=2"), "less than the 4 listeners"),
        ({}, ("User=shop", "RestrictAddressFamilies=AF_INET"), "lacks AF_UNIX"),
        ({}, ("User=shop", "PrivateNetwork=yes"), "nobody reaches what is bound"),
        ({"web__access_log": "/srv/shop/log/x.log"}, ("", ""), "Set ReadWritePaths=/srv/shop/log"),
        ({"web__bind": ["unix:/tmp/x.sock"]}, ("User=shop", "PrivateTmp=yes"), "nobody else finds it"),
        ({}, ("RuntimeDirectory=gwctl-shop", ""), "no folder for the control socket"),
        ({"web__nofile": 9000}, ("User=shop", "LimitNOFILE=1024"), "Set LimitNOFILE=9000"),
        ({}, ("User=shop", "User=shop\nDelegate=yes"), "Set DelegateSubgroup=gwctl-master"),
        (
            {},
            (
                "User=shop",
                "User=shop\nDelegate=yes\nDelegateSubgroup=gwctl-master\nProtectControlGroups=yes",
            ),
            "Take one of them out",
        ),
    ],
)
def test_contradictions_are_found(
    tmp_path: Path, settings: dict[str, Any], change: tuple[str, str], said: str
) -> None:
    """One at a time, in a unit that else fits."""
    made = Made(tmp_path, **settings)
    if not settings:
        assert review(parsed(GOOD), made.needs) == []
    found = review(parsed(GOOD.replace(*change, 1)), made.needs)
    assert any(said in text for text in found), found


def test_what_hides_and_what_brings_back(tmp_path: Path) -> None:
    """What is mounted there again is seen; else it would be found where nothing is wrong."""
    made = Made(tmp_path)
    shown = "BindReadOnlyPaths=/srv/shop /usr/bin:/usr/bin:norbind"
    text = GOOD.replace("User=shop", f"User=shop\nTemporaryFileSystem=/srv /usr/bin\n{shown}")
    assert review(parsed(text), made.needs) == []
    assert review(parsed(text.replace("/srv/shop /usr", "/srv/other /usr")), made.needs) != []


def test_a_control_socket_that_another_unit_has_too(tmp_path: Path) -> None:
    """By which it takes over: the end of either leaves the folder."""
    assert "RuntimeDirectoryPreserve=restart\n" in Made(tmp_path).service()
    for path, kept in (("/run/gwctl-shop/shop.sock", "restart"), ("/run/both/shop.sock", "yes")):
        assert f"RuntimeDirectoryPreserve={kept}\n" in Made(tmp_path, master__control=path).service()


def test_a_home_that_is_hidden(tmp_path: Path) -> None:
    made = Made(tmp_path)
    needs = needs_of(made.loaded, Path("/home") / "me" / "shop" / "gw.toml", COMMAND, PYTHON)
    text = rendered(units_for(needs, Wanted(), [])["gwctl-shop.service"], explain=True)
    assert "ProtectHome=read-only\n" in text
    found = review(parsed(text.replace("ProtectHome=read-only", "ProtectHome=yes")), needs)
    assert any(f"{needs.folder} cannot be seen" in each for each in found)

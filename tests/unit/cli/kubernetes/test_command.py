"""`gwctl kubernetes` as it is called: reasons, what is in the way, what is wrong on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.kubernetes.made import IMAGE, gwctl, objects, write


def test_with_reasons(tmp_path: Path) -> None:
    path = write(tmp_path)
    plain, explained = gwctl("-c", str(path), *IMAGE), gwctl("-c", str(path), *IMAGE, "--explain")
    assert plain.exit_code == explained.exit_code == 0
    assert plain.stderr == explained.stderr == ""
    lines = explained.stdout.splitlines()
    assert [line for line in lines if not line.lstrip().startswith("#")] == plain.stdout.splitlines()
    assert len(lines) - len(plain.stdout.splitlines()) > 20


def test_what_is_set_on_the_command_line_is_in_the_pods(tmp_path: Path) -> None:
    path = write(tmp_path).rename(tmp_path / "prod.toml")
    found = objects(path, "--set", "threads=4", "--set", "worker=threads")["Deployment"]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    expected = ["gwctl", "start", "-c", "prod.toml", "--set", "threads=4", "--set", "worker=threads"]
    assert container["command"] == expected


IN_THE_WAY: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "bound to the loopback": (
        {"web__bind": ["127.0.0.1:8080"]},
        (),
        'pool.web binds 127.0.0.1:8080, which nobody outside of the pod reaches: set bind = ["0.0.0.0:8080"] in [pool.web]',
    ),
    "bound to a socket alone": (
        {"web__bind": ["unix:/run/web.sock"]},
        (),
        'set bind = ["0.0.0.0:8000"] in [pool.web]',
    ),
    "any port": ({"web__bind": ["0.0.0.0:0"]}, (), 'set bind = ["0.0.0.0:8000"] in [pool.web]'),
    "admin on the loopback": (
        {"admin__bind": ["127.0.0.1:9100"]},
        (),
        'admin binds 127.0.0.1:9100, which nobody outside of the pod reaches: set bind = ["0.0.0.0:9100"] in [admin]',
    ),
    "nothing to probe": (
        {"admin__bind": None},
        (),
        'no admin listener, no health_path. Add to gw.toml:\n\n    [admin]\n    bind = ["0.0.0.0:9100"]\n',
    ),
    "probes speak no PROXY": (
        {"admin__bind": None, "web__health_path": "/healthz", "web__proxy_protocol": True},
        (),
        "Kubernetes cannot ask health_path of a pool with proxy_protocol",
    ),
    "no metrics": (
        {"admin__bind": None, "web__health_path": "/healthz"},
        ("--by-busy",),
        "there are no metrics without an admin listener",
    ),
    "a user": ({"web__user": "nobody"}, (), "pool.web.user is set: to become another user takes root"),
    "the admin's user": ({"admin__user": "nobody"}, (), "or say --set admin.user="),
    "busy share of what has no limit": ({"web__worker": "asgi"}, ("--by-busy",), "Set requests_max"),
    "a secret beside gw.toml": (
        {"admin__token_file": "token"},
        ("--folder", "/srv"),
        "admin.token_file: /srv/token is in a folder with other things",
    ),
    "where it is in the image": (
        {"web__access_log": "access.log"},
        (),
        "access.log is beside gw.toml. Say where that is in the image: --folder /srv",
    ),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_is_in_the_way(tmp_path: Path, case: str) -> None:
    settings, options, expected = IN_THE_WAY[case]
    result = gwctl("-c", str(write(tmp_path, **settings)), *IMAGE, *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert expected in result.stderr


def test_all_of_it_is_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, web__bind=["127.0.0.1:8000"], admin__bind=None, web__user="nobody")
    assert len(gwctl("-c", str(path), *IMAGE).stderr.strip().split("\n")) == 7


NOTES: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "no delay": ({"master__drain_delay_s": None}, (), "say --set master.drain_delay_s=5"),
    "clients behind": (
        {},
        ("--ingress", "shop.example"),
        "pool.web.trusted_proxies does not have what is in front",
    ),
    "a log in a file": ({"web__access_log": "/var/log/shop/access.log"}, (), "kubectl logs shows stdout"),
    "no admin": ({"admin__bind": None, "web__health_path": "/healthz"}, (), "there is no admin listener"),
    "maybe asgi": ({}, ("--by-busy",), "if the application is ASGI, set requests_max"),
}


@pytest.mark.parametrize("case", NOTES)
def test_what_one_should_know(tmp_path: Path, case: str) -> None:
    settings, options, expected = NOTES[case]
    result = gwctl("-c", str(write(tmp_path, **settings)), *IMAGE, *options)
    assert result.exit_code == 0
    assert result.stderr.startswith("note: ")
    assert expected in result.stderr


def test_variables_of_this_shell_are_not_in_the_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GWCTL_PROCESSES", "3")
    result = gwctl("-c", str(write(tmp_path, web__processes=None)), *IMAGE)
    assert (
        result.stderr
        == "note: GWCTL_PROCESSES: set here, not in the pods. Say it in gw.toml, or with --set\n"
    )


WRONG = {
    "--replicas": ["0", "x", "3:2", "1:", "²"],
    "--cpu": ["0", "2x", "-1"],
    "--memory": ["much", "0Mi"],
    "--name": ["Shop", "1shop", "shop-", "a" * 51],
    "--namespace": ["a b"],
    "--folder": ["srv", "/srv/../x"],
    "--ingress": ["a b", "http://shop.example"],
    "--gateway": ["shop.example", "=shop.example", "/public=shop.example", "public=", "a/b/c=shop.example"],
    "--pool": ["web", "api"],
}


@pytest.mark.parametrize(
    ("option", "value"), [(key, each) for key, values in WRONG.items() for each in values]
)
def test_what_is_wrong_on_the_command_line(tmp_path: Path, option: str, value: str) -> None:
    result = gwctl("-c", str(write(tmp_path)), *IMAGE, option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(option)


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    path = write(tmp_path)
    both = [("--ingress", "a.example", "--gateway", "g=a.example"), ("--keda", "http://p", "--by-busy")]
    for options in both:
        assert gwctl("-c", str(path), *IMAGE, *options).exit_code == 2
    several = write(tmp_path, pool__live={"app": "a:app", "bind": [":8001"]})
    assert (
        "--pool: which one is a.example? There is web, live"
        in gwctl("-c", str(several), *IMAGE, "--ingress", "a.example").stderr
    )


def test_mistakes_in_the_settings(tmp_path: Path) -> None:
    result = gwctl("-c", str(write(tmp_path, web__threads=0)), *IMAGE)
    assert (result.exit_code, result.stdout) == (2, "")


def test_names_of_all_kinds(tmp_path: Path) -> None:
    for name, expected in (("Shop_1", "shop-1"), ("1.x", "app-1-x"), ("a" * 60, "a" * 50)):
        assert objects(write(tmp_path, master__name=name))["Service"]["metadata"]["name"] == expected

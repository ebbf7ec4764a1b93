"""Other servers' options behind `gwctl start`: all of them at once, and the whole command line."""

from __future__ import annotations

import shlex
from typing import Literal

import pytest

from gwctl.config.foreign import gunicorn, uvicorn
from gwctl.config.foreign.corrected import corrected

OURS: dict[str, Literal["value", "nothing"]] = {
    **dict.fromkeys(("-c", "--config", "--set", "-b", "--bind", "-w", "--processes", "-k", "--worker", "--threads", "--name"), "value"),
    "--takeover": "nothing",
}  # fmt: skip


def right(text: str) -> str | None:
    found = corrected(shlex.split(text), OURS)
    return None if found is None else shlex.join(found.words)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "main:app --workers 4 --host 0.0.0.0 --port 80 --timeout 30 --access-logfile -",
            "main:app --processes 4 --bind 0.0.0.0:80 --set timeouts.request_timeout_s=30 --set access_log=stdout",
        ),
        ("-w 4 shop.wsgi --bind :80 --preload", "shop.wsgi --processes 4 --bind :80 --set preload=true"),
        ("shop -k gthread --timeout=90", "shop --worker threads --set timeouts.heartbeat_timeout_s=90 --set timeouts.boot_timeout_s=90"),
        ("--takeover -c gw.toml --workers=2", "--takeover -c gw.toml --processes 2"),
        ("shop --set a.b=1 --reload --set c=2", "shop --set a.b=1 --set c=2"),
        ("shop --uds /run/x.sock -e A=1 -e 'B=x y'", "shop --bind unix:/run/x.sock --set env.A=1 --set 'env.B=x y'"),
        ("shop --certfile c --keyfile k --bind :443", "shop --set tls.certificate=c --set tls.key=k --bind tls::443"),
        ("shop -b :1 -b :2 --no-proxy-headers", "shop --bind :1 --bind :2 --set trusted_proxies="),
        ("shop --statsd-host h:1 --http h11", "shop --set statsd.to=udp://h:1 --set statsd.format=plain --set statsd.gunicorn_names=true"),
    ],
)  # fmt: skip
def test_the_whole_line(written: str, expected: str) -> None:
    assert right(written) == expected


@pytest.mark.parametrize(
    "written", ["shop -w 4 --takeover", "shop", "", "shop --bogus 3", "-c gw.toml --set a=1"]
)
def test_what_is_ours_is_left_alone(written: str) -> None:
    assert right(written) is None


def test_each_is_told_in_the_order_of_the_line() -> None:
    found = corrected(
        shlex.split("shop --reload --workers 4 --lifespan on --factory --bogus 1 --loop uvloop"), OURS
    )
    assert found is not None
    assert found.rows == (
        ("--reload", "Files are not watched: run gwctl reload after a change"),
        ("--workers 4", "--processes 4"),
        ("--lifespan on", "--set lifespan=on"),
        ("--factory", "module:factory()"),
        ("--loop uvloop", "It is so without it"),
        ("--bogus 1", "There is no such option"),
    )
    assert found.flags == ("--reload", "--workers", "--lifespan", "--factory", "--loop", "--bogus")
    assert found.words == (), "of one nobody knows what is meant"


def test_a_factory_is_called() -> None:
    assert right("--factory shop:make --workers 2") == "'shop:make()' --processes 2"


def test_every_option_of_gunicorn_and_uvicorn_is_told() -> None:
    for option in (*gunicorn.OPTIONS, *uvicorn.OPTIONS):
        for flag in option.flags:
            if flag in OURS:
                continue
            words = [flag] if option.takes in {"nothing", "maybe"} else [flag, "1"]
            found = corrected(["shop", *words], OURS)
            assert found is not None, flag
            assert found.rows, flag
            assert all(why for _said, why in found.rows), flag

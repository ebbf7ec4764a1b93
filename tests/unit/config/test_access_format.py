"""Templates of the access log: what they are made of, and what is said about mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.config.access_format import Field, FormatError, parse
from tests.support.mistakes import WEB, mistakes


def test_text_and_fields() -> None:
    assert parse('%(h)s "%(f)s" 100%% %({X-One}i)s') == [
        Field("h"),
        ' "',
        Field("f", quoted=True),
        '" 100',
        "%",
        " ",
        Field("X-One", "i"),
    ]


def test_gunicorns_default_is_understood() -> None:
    parse('%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"')


@pytest.mark.parametrize(
    ("template", "reason", "hint"),
    [
        ("jsn", 'expected "combined", "json" or a template', "Did you mean 'json'?"),
        ("common", 'expected "combined"', "Did you mean '%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s'?"),
        ("$remote_addr - $status", 'expected "combined"', "Did you mean %(h)s?"),
        ("", 'expected "combined"', "There are h, l, u,"),
        ("%h %l", "'%h' is no field", "Write %(h)s"),
        ('"%{Referer}i"', "'%{Referer}i' is no field", "Write %({Referer}i)s"),
        ("%>s", "'%>s' is no field", "Write %(s)s"),
        ("100% sure", "nothing follows the %", "Write %% for a % itself"),
        ("%(status)s", "there is no field %(status)s", "Did you mean %(s)s?"),
        ("%(remote_adr)s", "there is no field", "Did you mean %(h)s?"),
        ("%(d)s", "there is no field", "Did you mean %(D)s?"),
        ("%(wroker)s", "there is no field", "Did you mean %(worker)s?"),
        ("%(x)s", "there is no field", "There are h, l, u,"),
        ("%(h)d", "does not end in )s", "Write %(h)s"),
        ("%(h)", "does not end in )s", "Write %(h)s"),
        ("%({x}n)s", "there is no kind 'n'", "There are %({name}i)s: request header"),
        ("%({}i)s", "has no name", ""),
        ("%(h)s\n%(s)s", "controls", ""),
    ],
)
def test_mistakes(template: str, reason: str, hint: str) -> None:
    with pytest.raises(FormatError) as raised:
        parse(template)
    assert reason in str(raised.value)
    assert raised.value.hint.startswith(hint) if hint else not raised.value.hint


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "access_log_format = '%(status)s'",
            'gw.toml:3: pool.web.access_log_format = "%(status)s": there is no field %(status)s. Did you mean %(s)s?',
        ),
        (
            'access_log_exclude = ["healthz"]',
            'gw.toml:3: pool.web.access_log_exclude = "healthz": a path begins with /. Write "/healthz"',
        ),
        (
            'access_log_exclude = ["/a/*/b"]',
            'gw.toml:3: pool.web.access_log_exclude = "/a/*/b": * can only stand at the end',
        ),
        ("access_log_sample = 2", "gw.toml:3: pool.web.access_log_sample = 2: not in 0..1"),
        (
            'access_logformat = "json"',
            'gw.toml:3: pool.web.access_logformat = "json": no such setting. Did you mean `access_log_format`?',
        ),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, line: str, told: str) -> None:
    (said,) = mistakes(tmp_path, f"{WEB}{line}\n")
    assert said.startswith(told), said

"""How long a request may take, by class and path."""

from __future__ import annotations

import pytest

from gwctl.config.request_limits import RequestLimits, parse
from gwctl.config.timeout_settings import Timeouts
from tests.support.mistakes import WEB, mistakes


def test_auto_is_a_minute_under_sync_and_no_limit_elsewhere() -> None:
    assert RequestLimits(Timeouts(), "sync").of("/") == 60.0
    assert RequestLimits(Timeouts(), "asgi").of("/") == 0.0
    assert RequestLimits(Timeouts(), "asgi").shortest_s == 0.0


def test_the_longest_path_that_fits_counts() -> None:
    timeouts = Timeouts(request_timeout_s=5.0, request_timeout_paths=("/a 10", "/a/live 0", "/b 2.5"))
    limits = RequestLimits(timeouts, "threads")
    assert [limits.of(target) for target in ("/", "/a/x?y=/b", "/a/live/1", "/b")] == [5.0, 10.0, 0.0, 2.5]
    assert limits.shortest_s == 2.5


@pytest.mark.parametrize("text", ["", "/a", "a 5", "/a five", "/a -1", "/a nan", "/a b 5", "/a 1e9"])
def test_what_is_no_path_and_seconds(text: str, tmp_path) -> None:
    with pytest.raises(ValueError):
        parse(text)
    (mistake,) = mistakes(tmp_path, f"{WEB}[pool.web.timeouts]\nrequest_timeout_paths = ['{text}']\n")[:1]
    assert 'expected PATH SECONDS, as in "/export 600"' in mistake

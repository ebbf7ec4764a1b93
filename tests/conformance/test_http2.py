"""The cases that HTTP/1 and HTTP/2 have in common, over HTTP/2, under each worker class."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.apps import seen as applications
from tests.conformance.case import LIMITS
from tests.conformance.http2 import GROUPS, Request, as_request, play
from tests.conformance.table import CASES
from tests.support.engine import WORKER_CLASSES, Engine
from tests.support.http2 import Http2Client

SHARED: dict[str, Request] = {
    name: request
    for name, case in CASES.items()
    if name.startswith(GROUPS) and (request := as_request(name, case)) is not None
}


@pytest.fixture(scope="module", params=WORKER_CLASSES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    application = applications.asgi if request.param == "asgi" else applications.wsgi
    with Engine(application, request.param, http=("h2", "h1"), limits=LIMITS, threads=1) as one:
        yield one


def test_most_cases_are_shared() -> None:
    assert len(SHARED) > 120


@pytest.mark.parametrize("name", SHARED)
def test_case(engine: Engine, name: str) -> None:
    with Http2Client(engine) as client:
        play(client, CASES[name], SHARED[name])
        assert client.open("/probe").whole().status == 200  # the connection goes on

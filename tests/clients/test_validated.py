"""wsgiref.validate around the test applications, under both WSGI worker classes, from end to end."""

from __future__ import annotations

import httpx
import pytest

from tests.clients import conversations as say


@pytest.mark.parametrize("worker", ["sync", "threads"])
@pytest.mark.parametrize("name", ["bare", "flask", "falcon", "django"])
def test_the_validator_has_nothing_to_say(gwctl_server, name: str, worker: str) -> None:
    """A violation is an AssertionError in the log, or a line of the validator's on wsgi.errors."""
    conversations = (say.hello, say.head, say.stream, say.upload_in_chunks, say.raise_before, say.raise_mid)
    server = gwctl_server(f"validated:{name}()", worker=worker, allow_errors=["/raise", "Deliberate"])
    with server, httpx.Client(base_url=server.url, timeout=60) as client:
        for conversation in conversations:
            conversation(client)
        assert "AssertionError" not in server.log
        assert "garbage collected without being closed" not in server.log

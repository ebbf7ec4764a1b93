"""Does a server answer rightly? One that does not is reported as failing, and not measured.

The workload's request is sent three times over one connection, opened anew where the server closed
it, and status, body and length are compared with what the application is known to answer.
"""

from __future__ import annotations

import http.client
import json

from benchmarks.servers import Server, ServerFailed
from benchmarks.workloads import Workload

REQUESTS = 3
TIMEOUT_S = 10.0


def check(server: Server, workload: Workload) -> None:
    """Raise `ServerFailed` that says what is wrong with the answers."""
    if complaint := wrong(server, workload):
        raise ServerFailed(complaint)


def wrong(server: Server, workload: Workload) -> str:
    """What is wrong with the answers, or nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
    try:
        for _ in range(REQUESTS):
            connection.request(workload.method, workload.path, workload.body or None, dict(workload.headers))
            response = connection.getresponse()
            complaint = complain(
                workload, response.status, response.getheader("Content-Length"), response.read()
            )
            if complaint:
                return complaint
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return ""


def complain(workload: Workload, status: int, length: str | None, body: bytes) -> str:
    if status != 200:
        return f"status {status}"
    if not same(workload, body):
        return f"wrong body of {len(body)} bytes (right: {len(workload.answer)})"
    if length is not None and int(length) != len(body):
        return f"Content-Length {length} with {len(body)} bytes"
    return ""


def same(workload: Workload, body: bytes) -> bool:
    if not workload.is_json:
        return body == workload.answer
    try:
        document = json.loads(body)
    except ValueError:
        return False
    return bool(document == json.loads(workload.answer))

"""The common routes, and a database query in both forms."""

import asyncio
import time

from common import CHUNKS, Deliberate, Digest, async_stream, raising_async_stream, raising_stream, seconds
from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse


def hello(request):
    return HttpResponse("hello")


def stream(request):
    chunks = async_stream() if isinstance(request, ASGIRequest) else iter(CHUNKS)
    return StreamingHttpResponse(chunks)


def upload(request):
    return JsonResponse(Digest().read(request.read).summary)


def raise_before(request):
    raise Deliberate("before the response")


def raise_mid(request):
    chunks = raising_async_stream() if isinstance(request, ASGIRequest) else raising_stream()
    return StreamingHttpResponse(chunks)


def sleep(request):
    time.sleep(seconds(request.META["QUERY_STRING"]))
    return HttpResponse("slept")


def query(request):
    """Django's database layer refuses to run where it sees an event loop."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 6 * 7")
        return HttpResponse(str(cursor.fetchone()[0]))


async def async_view(request):
    await asyncio.sleep(0.001)
    return HttpResponse("async")

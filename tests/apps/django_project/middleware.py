"""Middleware of the project's own, sync and async."""

from common import HEADER, HEADER_VALUE
from django.utils.decorators import sync_and_async_middleware


@sync_and_async_middleware
def HeaderMiddleware(get_response):  # noqa: N802 - Django's naming
    """Adds the header that the tests look for."""
    import asyncio

    if asyncio.iscoroutinefunction(get_response):

        async def async_middleware(request):
            response = await get_response(request)
            response[HEADER] = HEADER_VALUE
            return response

        return async_middleware

    def middleware(request):
        response = get_response(request)
        response[HEADER] = HEADER_VALUE
        return response

    return middleware

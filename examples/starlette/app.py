import asyncio

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route


async def hello(request):
    return PlainTextResponse("hello\n")


async def count():
    for number in range(10):
        yield f"{number}\n"
        await asyncio.sleep(0.2)


async def stream(request):
    return StreamingResponse(count(), media_type="text/plain")


app = Starlette(routes=[Route("/", hello), Route("/stream", stream)])

"""What outlives a request or is cut short, in each framework: one factory for each.

GET /silent      one server-sent event, then silence
GET /events      server-sent events without end      POST /upload    counts a body
GET /background  answers, then works                 GET /file       this file
GET /ended       a JSON list of what has ended: "events", "background", "upload"
/ws              a WebSocket that echoes and does not catch the client's end
/ws/denied       refused with 401 and a body         /ws/raises      raises when it gets a message
"""

import asyncio
import gc
import os
from pathlib import Path

ended: list[str] = []


def all_ended() -> list[str]:
    """Let a stream's generator be ended that frameworks leave to the garbage collection, in a circle with its task."""
    gc.collect()
    return ended


async def events():
    try:
        while True:
            yield b"data: tick\n\n"
            await asyncio.sleep(0.01)
    finally:
        ended.append("events")


async def silent():
    try:
        yield b"data: one\n\n"
        await asyncio.Event().wait()
    finally:
        ended.append("silent")


async def work():
    await asyncio.sleep(0.01)
    ended.append("background")


async def count(blocks):
    try:
        return sum([len(block) async for block in blocks])
    finally:
        ended.append("upload")


def make_starlette():
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
    from starlette.routing import Route, WebSocketRoute

    async def echo(websocket):
        await websocket.accept()
        while True:
            await websocket.send_text(f"echo: {await websocket.receive_text()}")

    async def denied(websocket):
        await websocket.send_denial_response(PlainTextResponse("go away", 401))

    async def raises(websocket):
        await websocket.accept()
        raise ValueError(await websocket.receive_text())

    async def stream(request):
        return StreamingResponse(events(), media_type="text/event-stream")

    async def quiet(request):
        return StreamingResponse(silent(), media_type="text/event-stream")

    async def background(request):
        return PlainTextResponse("ok", background=BackgroundTask(work))

    async def upload(request):
        return PlainTextResponse(str(await count(request.stream())))

    async def file(request):
        return FileResponse(__file__)

    async def what_ended(request):
        return JSONResponse(all_ended())

    return Starlette(
        routes=[
            Route("/events", stream),
            Route("/silent", quiet),
            Route("/background", background),
            Route("/upload", upload, methods=["POST"]),
            Route("/file", file),
            Route("/ended", what_ended),
            WebSocketRoute("/ws", echo),
            WebSocketRoute("/ws/denied", denied),
            WebSocketRoute("/ws/raises", raises),
        ]
    )


def make_fastapi():
    from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
    from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
    from starlette.exceptions import HTTPException

    app = FastAPI()

    @app.middleware("http")
    async def pass_on(request, call_next):  # Starlette's BaseHTTPMiddleware stands between
        return await call_next(request)

    @app.get("/events")
    async def stream():
        return StreamingResponse(events(), media_type="text/event-stream")

    @app.get("/silent")
    async def quiet():
        return StreamingResponse(silent(), media_type="text/event-stream")

    @app.get("/background")
    async def background(tasks: BackgroundTasks):
        tasks.add_task(work)
        return "ok"

    @app.post("/upload")
    async def upload(request: Request):
        return PlainTextResponse(str(await count(request.stream())))

    @app.get("/file")
    async def file():
        return FileResponse(__file__)

    @app.get("/ended")
    async def what_ended():
        return all_ended()

    @app.websocket("/ws")
    async def echo(websocket: WebSocket):
        await websocket.accept()
        while True:
            await websocket.send_text(f"echo: {await websocket.receive_text()}")

    @app.websocket("/ws/denied")
    async def denied(websocket: WebSocket):
        raise HTTPException(401, "go away")

    @app.websocket("/ws/raises")
    async def raises(websocket: WebSocket):
        await websocket.accept()
        raise ValueError(await websocket.receive_text())

    return app


def make_quart():
    from quart import Quart, Response, jsonify, request, send_file, websocket

    app = Quart(__name__)
    app.config["MAX_CONTENT_LENGTH"] = None

    @app.get("/events")
    async def stream():
        response = Response(events(), mimetype="text/event-stream")
        response.timeout = None
        return response

    @app.get("/silent")
    async def quiet():
        response = Response(silent(), mimetype="text/event-stream")
        response.timeout = None
        return response

    @app.get("/background")
    async def background():
        app.add_background_task(work)
        return "ok"

    @app.post("/upload")
    async def upload():
        return str(await count(request.body))

    @app.get("/file")
    async def file():
        return await send_file(__file__)

    @app.get("/ended")
    async def what_ended():
        return jsonify(all_ended())

    @app.websocket("/ws")
    async def echo():
        while True:
            await websocket.send(f"echo: {await websocket.receive()}")

    @app.websocket("/ws/denied")
    async def denied():
        return "go away", 401

    @app.websocket("/ws/raises")
    async def raises():
        raise ValueError(await websocket.receive())

    return app


def make_django():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_project.settings")
    from django.core.asgi import get_asgi_application
    from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
    from django.urls import path

    tasks = set()

    async def stream(request):
        return StreamingHttpResponse(events(), content_type="text/event-stream")

    async def quiet(request):
        return StreamingHttpResponse(silent(), content_type="text/event-stream")

    async def background(request):
        task = asyncio.ensure_future(work())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return HttpResponse("ok")

    def upload(request):
        return HttpResponse(str(len(request.body)))

    def file(request):
        return FileResponse(Path(__file__).open("rb"))

    async def what_ended(request):
        return JsonResponse(all_ended(), safe=False)

    application = get_asgi_application()
    from django_project import urls

    urls.urlpatterns[:] = [
        path("events", stream),
        path("silent", quiet),
        path("background", background),
        path("upload", upload),
        path("file", file),
        path("ended", what_ended),
    ]
    return application

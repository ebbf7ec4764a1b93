async def lifespan(receive, send):
    await receive()  # lifespan.startup: open connections to databases here
    await send({"type": "lifespan.startup.complete"})
    await receive()  # lifespan.shutdown: and close them here
    await send({"type": "lifespan.shutdown.complete"})


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    assert scope["type"] == "http"
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello\n"})

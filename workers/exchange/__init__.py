"""What a request and its response are to whoever serves them, whatever protocol they came by.

`workers.http1` is the one protocol there is. Another one brings its own `response.Response`.

Imported by `workers`.
Knows nothing of `workers.http1`, `workers.server`, `workers.runners`, `workers.transport`,
`workers.balancing`, `workers.wsgi`, `workers.asgi`, `workers.websocket`: neither how a request looks on
its way nor who answers it.
"""

"""An ASGI application under the WSGI runners, and the loop it runs on.

Imported by `workers.runners`.
Knows nothing of `workers.server`, `workers.runners`, `workers.transport`, `workers.websocket`,
`workers.lifecycle`.
"""

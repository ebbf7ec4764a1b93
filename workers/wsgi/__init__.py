"""WSGI calls, their bodies in and their responses out.

Imported by `workers.runners`, `workers.bridge`.
Knows nothing of `workers.server`, `workers.runners`, `workers.asgi`, `workers.websocket`,
`workers.bridge`: nor in which thread it runs.
"""

"""ASGI requests: scope, receive, send, and the extensions.

Imported by `workers.runners`, `workers.bridge`.
Knows nothing of `workers.server`, `workers.runners`, `workers.wsgi`, `workers.websocket`,
`workers.bridge`.
"""

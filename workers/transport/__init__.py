"""Sockets: accepting, the PROXY protocol, TLS, output, the end of a connection.

Imported by `workers.server`, `workers.lifecycle`, `workers.runners`, `workers.asgi`, `workers.wsgi`.
Knows nothing of `workers.server`, `workers.runners`, `workers.wsgi`, `workers.asgi`, `workers.websocket`:
what is said over a connection is not its subject.
"""

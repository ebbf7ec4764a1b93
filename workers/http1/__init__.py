"""HTTP/1.1: heads, bodies, connections and their states.

What connections need of the others is here as a base class: `service` for the server, `runner` for the
runners.

Imported by `workers`.
Knows nothing of `workers.server`, `workers.runners`, `workers.transport`, `workers.balancing`,
`workers.wsgi`, `workers.asgi`, `workers.websocket`: neither who accepts a connection nor how an
application is called.
"""

"""HTTP/1.1: heads, bodies, connections and their states.

A connection is a `workers.exchange.exchange.Exchange` here; what its responses look like is in `response`.

Imported by `workers`.
Knows nothing of `workers.server`, `workers.runners`, `workers.transport`, `workers.balancing`,
`workers.wsgi`, `workers.asgi`, `workers.websocket`: neither who accepts a connection nor how an
application is called.
"""

"""HTTP/2: frames, header blocks, streams, and the connection that carries them.

A stream is a `workers.exchange.exchange.Exchange`; docs/adr/0049-http2.md says why the engine is our own.

Imported by `workers.server`, `workers.lifecycle`, `workers.transport`, `workers.websocket`.
Knows nothing of `workers.server`, `workers.runners`, `workers.transport`, `workers.balancing`,
`workers.wsgi`, `workers.asgi`, `workers.websocket`: as `workers.http1`, of which it uses what all
connections have in common.
"""

"""WebSockets: handshake, frames, connections and their memory.

Imported by `workers.server`, `workers.drain`, `workers.runners`.
Knows nothing of `workers.server`, `workers.runners`, `workers.asgi`, `workers.wsgi`, `workers.transport`:
what it needs of the worker is in its `surroundings`.
"""

"""A worker process from its fork to its exit; also the template's, and the link to the master.

Imported by `supervisor.children.fork`, `supervisor.check_app`.
Knows nothing of `supervisor`, `workers.wsgi`, `workers.asgi`, `workers.balancing`, `workers.websocket`:
it starts and drains a server, and serves nothing itself.
"""

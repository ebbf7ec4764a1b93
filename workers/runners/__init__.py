"""The three worker classes: who runs a request, and for how long.

Imported by `workers.server`, `workers.lifecycle`.
Knows nothing of `workers.server`, `workers.lifecycle`, `workers.transport.acceptor`: a runner is asked by
connections, and has what it needs of the worker from the context and the service.
"""

"""What a worker tells: counters, access log, tracebacks, throttled lines.

Imported by `workers`.
Knows nothing of `workers.server`, `workers.context`, `workers.http1`, `workers.runners`, `workers.app`,
`workers.asgi`, `workers.wsgi`: a request is to it what its line shows.
"""

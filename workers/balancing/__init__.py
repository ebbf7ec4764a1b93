"""Who gets what when there is not enough: siblings, limits, budgets, queues.

Imported by `workers.server`, `workers.drain`, `workers.runners`, `workers.bridge`, `workers.asgi`,
`workers.wsgi`, `workers.transport`.
Knows nothing of `workers.server`, `workers.runners`, `workers.transport`, `workers.wsgi`, `workers.asgi`:
it judges connections and requests, whatever answers them.
"""

"""The master process: binds, forks, watches and replaces workers; never imports the application.

Beside the packages stand what puts them together (`start`, `master`) and what they share (`event_loop`,
`recorder`).

Imported by `cli`, `supervisor`.
Knows nothing of `cli`, `workers.server`, `workers.runners`, `workers.http1`, `asyncio`, `threading`,
`uvloop`. There is one door to the workers, `children.fork`, and a second for ``gwctl check --app``
(`check_app`).
"""

"""``gwctl doctor``: the machine, and the proxy in front, against the settings.

`machine` reads all that is to be known, in one place; the checks are pure and find what it means. `nginx` and
`haproxy` read the configuration of a proxy.

Imported by `cli`.
Knows nothing of `workers`, `ipc`, `records`, `supervisor.core`, `supervisor.master`, `asyncio`, `threading`.
"""

"""The control socket as both its ends see it: paths, messages, the client, the status, and finding a master.

Imported by `admin`, `cli`, `supervisor`.
Knows nothing of `cli`, `supervisor`, `workers`, `ipc`, `records`, `asyncio`: the server is in
`supervisor.control`, and what is asked for is decided in `supervisor.core`.
"""

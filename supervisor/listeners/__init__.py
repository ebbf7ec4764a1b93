"""Listening sockets: bound, inherited, compared at a reload, looked after.

Imported by `supervisor.start`, `supervisor.control`, `supervisor.generations`, `supervisor.service`,
`supervisor.takeover`, `supervisor.upgrade`.
Knows nothing of `supervisor.master`, `supervisor.core`, `supervisor.children`, `supervisor.generations`,
`workers`: addresses, and not who serves there.
"""

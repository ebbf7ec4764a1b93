"""What the world around a master is told: systemd, pid file, terminal.

It reads the state of a fleet and changes nothing in it.

Imported by `supervisor.master`, `supervisor.start`, `supervisor.upgrade`.
Knows nothing of `supervisor.master`, `supervisor.children`, `supervisor.control`,
`supervisor.generations`, `workers`.
"""

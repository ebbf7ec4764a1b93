"""The world around a master: systemd, pid file, terminal, the files of logs.

It reads the state of a fleet and changes nothing in it.

Imported by `supervisor.master`, `supervisor.start`, `supervisor.takeover`, `supervisor.upgrade`,
`supervisor.generations`, `supervisor.log_reopening`, `supervisor.admin`, `cli`.
Knows nothing of `supervisor.master`, `supervisor.children`, `supervisor.control`,
`supervisor.generations`, `workers`.
"""

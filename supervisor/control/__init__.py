"""The control server, and the status it reports.

What is asked for goes to the core as an event, and its answer comes back as an action.

Imported by `supervisor.master`, `supervisor.start`, `supervisor.takeover`, `supervisor.upgrade`.
Knows nothing of `supervisor.master`, `supervisor.upgrade`, `cli`, `workers`: the form of the messages is
`gwctl.control`, which the clients know, too.
"""

"""The master's processes: forked, watched, listened to, explained and reaped.

It reports facts as events and decides nothing: who is started, told and killed is the core's to say.

Imported by `supervisor.master`, `supervisor.start`, `supervisor.check_app`, `supervisor.control`,
`supervisor.admin`, `supervisor.upgrade`, `supervisor.log_reopening`.
Knows nothing of `supervisor.master`, `supervisor.control`, `supervisor.upgrade`, `workers.server`,
`workers.runners`. One module, `fork`, calls the worker's boot function, in the child.
"""

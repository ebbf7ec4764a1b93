"""The control groups of the master (cgroups(7)): what they allow, what they hold, and how pressed they are.

It reads files of the kernel, and changes nothing but what is delegated to the master.

Imported by `supervisor.master`, `supervisor.start`, `supervisor.upgrade`, `supervisor.generations`,
`supervisor.children`, `supervisor.control`, `cli.doctor`.
Knows nothing of `supervisor.master`, `supervisor.generations`, `supervisor.children`, `supervisor.control`,
`workers`.
"""

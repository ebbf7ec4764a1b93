"""The admin process: a child of the master that is no worker, and belongs to no pool and no generation.

It serves the admin listener, speaks to the master as any control client does, and does not end at a reload.

Imported by `supervisor.master`, `supervisor.admin_plan`, `supervisor.log_reopening`.
Knows nothing of `supervisor.master`, `supervisor.core`, `supervisor.control`, `supervisor.generations`.
"""

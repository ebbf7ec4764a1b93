"""What each generation runs with: plans, capacities, logs and queues.

Imported by `supervisor.master`, `supervisor.start`, `supervisor.check_app`, `supervisor.children`,
`supervisor.control`, `supervisor.upgrade`, `supervisor.admin_plan`, `supervisor.log_reopening`, `cli.doctor`.
Knows nothing of `supervisor.master`, `supervisor.children.children`, `supervisor.control`,
`supervisor.upgrade`, `workers`: settings and listeners, and no process.
"""

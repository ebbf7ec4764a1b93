"""Who follows what happens: one subscription to the master, and server-sent events for as many as there are.

Imported by `admin`.
Knows nothing of `supervisor`, `workers`, `cli`, `admin.app`: who may follow is decided before.
"""

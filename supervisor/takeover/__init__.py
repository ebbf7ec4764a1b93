"""A new master takes the place of one that runs: what both say to each other, and what changes hands.

Imported by `supervisor.master`, `supervisor.start`.
Knows nothing of `supervisor.master`, `supervisor.upgrade`, `cli`, `workers`, `asyncio`.
"""

"""The upgrade in place: a snapshot of the old program, and a new one that goes on from it.

`entry` and `restore` are the new program and stand above the master; `snapshot`, `program` and `execute`
are the old one and stand below it. What an owner hands over is written beside the owner.

Imported by `cli`, `supervisor.master`, `supervisor.start`.
Knows nothing of `cli`, `workers`, `asyncio`.
"""

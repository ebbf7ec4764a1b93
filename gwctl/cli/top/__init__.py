"""``gwctl top``: what a running master does, as a picture that is drawn anew every few seconds.

`model` makes figures of the master's answers, `view` knows what was chosen by keys, `picture` makes lines of
both. All three are pure. `live` has the terminal and the keys, `plain` writes text or JSON for whoever reads.

Imported by `cli`.
Knows nothing of `workers`, `ipc`, `records`, `supervisor`, `asyncio`, `threading`.
"""

"""``gwctl import``: a gw.toml of what another server was told, wherever it was told it.

What each of its options becomes is in `config.foreign`; here is where they are found (files, command lines,
units, images) and how the result is written. Nothing that is read is executed, but for one: a
gunicorn.conf.py is Python, and runs in a child process with a time limit.

Imported by `cli`.
Knows nothing of `supervisor`, `workers`, `control`, `asyncio`.
"""

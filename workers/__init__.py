"""What runs in a worker process: boot, the HTTP/1.1 engine and its runners.

Beside the packages stand the server (`server`), what its parts share (`context`) and the end of a drain
(`drain`).

Imported by `workers`.
Knows nothing of `supervisor`, `cli`, `control`, `records`: the master is at the other end of a channel.
"""

"""What a worker says while it is profiled, and what becomes of it: a flame graph, speedscope's JSON, text.

Both ends of that conversation are made of the types in `profile.lines`; the master only connects them. Who
reads believes nothing of what an application's process writes.

Imported by `admin`, `cli`, `control.protocol`, `workers.lifecycle`, `workers.observe`.
Knows nothing of `supervisor`, `workers`, `cli`, `admin`, `ipc`: neither who samples nor who asked.
"""

"""The event log: what is told, in which form, and how it reaches whoever reads it.

`event_log` is what the others use. A line is text, JSON, an entry of the journal or a message of syslog; it
goes to a stream that several processes share, or as a datagram.

Imported by `config`, `cli`, `ipc`, `supervisor`, `workers`.
Knows nothing of `config`, `records`, `control`, `ipc`, `cli`, `supervisor`, `workers`, `admin`.
"""

"""``gwctl logs``: reads the event log back from where `log.to` put it.

`command` asks which master is meant, `place` where its log is, `journal` and `files` read it there, `entries`
understands what they find and `view` shows it.

Imported by `cli`.
Knows nothing of `workers`, `supervisor`, `records`, `ipc`.
"""

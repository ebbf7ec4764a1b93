"""gw.toml, environment and flags to typed settings, with all mistakes at once and the line of each.

`load` is the way in; `model` has the settings themselves.

Imported by `admin`, `cli`, `config.foreign`, `control`, `supervisor`, `workers`.
Knows nothing of `cli`, `control`, `ipc`, `records`, `supervisor`, `workers`, `asyncio`: what a setting
does is said in its description and done elsewhere.
"""

"""The policy of the master: pure, deterministic, without IO, clock or randomness.

It knows workers by number, and the world by events. `fleet` is the way in (`Fleet.step`), `state` is
where the fleet stands; the layers between are in pyproject.toml.

Imported by `supervisor`.
Knows nothing of `supervisor.children`, `supervisor.master`, `config.load`, `ipc`, `workers`, `os`,
`time`, `signal`, `socket`, `random`, `logging`.
"""

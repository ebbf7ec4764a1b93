"""The policy of the master: pure, deterministic, without IO, clock or randomness.

The rest of the supervisor imports it, and it imports none of that: it knows workers by number, and the
world by events. `fleet` is its door (`Fleet.step`), `state` what it stands on; the layers between are in
pyproject.toml.
"""

"""``gwctl unit``: systemd units for a gw.toml; and ``gwctl check --unit``: whether a unit fits it.

`needs` reads from the settings what a unit has to know; `service` and `socket_unit` make directives of that,
each with its reason; `unit_file` writes and reads the format; `review` compares a unit that is there. All but
`command` is pure.

Imported by `cli`, `cli.kubernetes`.
Knows nothing of `workers`, `ipc`, `records`, `supervisor`, `asyncio`, `threading`.
"""

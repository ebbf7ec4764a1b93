"""``gwctl kubernetes``: manifests for a gw.toml.

`wanted` understands the options, `site` reads from the settings what manifests have to know and what is in
their way; `workload`, `network` and `scaling` make documents of that, each line with its reason; `yaml_text`
writes them. All but `command` is pure.

Imported by `cli`.
Knows nothing of `workers`, `ipc`, `records`, `supervisor`, `asyncio`, `threading`.
"""

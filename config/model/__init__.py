"""The settings as frozen structs, and the annotations they are checked by.

Reference, messages, ``gwctl init`` and the names of variables are made from these fields.

Imported by `admin`, `cli`, `config`, `control`, `ipc`, `supervisor`, `workers`.
Knows nothing of `config.load`, `config.sources`, `supervisor`, `workers`: where a value came from is not
in it.
"""

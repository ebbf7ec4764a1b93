"""Other servers' settings, as data: what each becomes here, or why there is nothing and what to do instead.

One table for each server. `gwctl import`, what `gwctl start` says of their options, and docs/migrating.md are all
made from it, so none of them can be out of date. Nothing here reads a file or runs anything.

Imported by `cli`, `cli.importing`.
Knows nothing of `supervisor`, `workers`, `control`, `os`, `subprocess`.
"""

"""The way to the master: one connection for all who ask, bounded in what it holds, and what can be asked.

Imported by `admin`.
Knows nothing of `supervisor`, `workers`, `cli`, `admin.following`, `admin.figures`: neither why something
is asked nor who asked over HTTP.
"""

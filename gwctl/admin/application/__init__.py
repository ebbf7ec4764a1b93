"""The application's own metrics, as prometheus_client writes them in workers: read, kept over deaths, told.

Imported by `admin`.
Knows nothing of `supervisor`, `workers`, `cli`, `admin.link`, `admin.following`, `admin.figures`: neither
who made the files nor who asks.
"""

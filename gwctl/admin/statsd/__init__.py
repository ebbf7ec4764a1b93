"""Figures for statsd: made into lines, packed into datagrams, sent now and then.

Imported by `admin`.
Knows nothing of `supervisor`, `workers`, `cli`, `admin.link`, `admin.following`, `admin.application`: neither
how the figures come here nor who else is told.
"""

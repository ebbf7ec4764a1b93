"""Listening sockets: bound, inherited, compared at a reload, looked after.

Imported by the generations and the control server. It knows addresses, not who serves there.
"""

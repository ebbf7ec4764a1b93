"""Listening sockets: bound, inherited, compared at a reload, looked after."""

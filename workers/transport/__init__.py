"""Sockets: accepting, the PROXY protocol, TLS, output, the end of a connection."""
